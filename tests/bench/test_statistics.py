"""Intervals and corrections, against exact bootstrap distributions and against numbers by hand."""

import numpy as np
import pytest

from transprune.bench.results.statistics import difference_of, draw_weights, holm, interval_of

UNITS = 60


@pytest.fixture
def scores():
    return np.random.default_rng(1).binomial(1, 0.8, size=(UNITS, 2))


def _exact_interval(outcomes):
    """The 95 % interval of the mean of draws with replacement from integers in -1..1.

    The distribution of the sum is the convolution of the distributions of the draws.
    """
    one = np.bincount(outcomes + 1, minlength=3) / len(outcomes)

    total = np.ones(1)
    for _ in outcomes:
        total = np.convolve(total, one)

    # index i of the sum stands for the value i - n
    cumulated = np.cumsum(total)
    return [
        (np.searchsorted(cumulated, share) - len(outcomes)) / len(outcomes)
        for share in (0.025, 0.975)
    ]


def _means(values):
    weights = draw_weights(UNITS, 20_000)
    return weights @ values / weights.sum(axis=1)


def test_interval_is_that_of_the_exact_bootstrap(scores) -> None:
    found = interval_of(_means(scores[:, 0]))
    assert found.value == pytest.approx(scores[:, 0].mean())
    exact = _exact_interval(scores[:, 0])
    assert [found.low, found.high] == pytest.approx(exact, abs=1.01 / UNITS)  # one answer


def test_difference_is_paired(scores) -> None:
    found = difference_of(_means(scores[:, 0]) - _means(scores[:, 1]))
    exact = _exact_interval(scores[:, 0] - scores[:, 1])
    assert [found.low, found.high] == pytest.approx(exact, abs=1.01 / UNITS)


def test_first_row_is_the_sample_and_every_row_has_its_size() -> None:
    weights = draw_weights(7, 50)
    assert weights.shape == (51, 7)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, draw_weights(7, 50))
    assert (weights != draw_weights(7, 50, seed=1)).any()


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "better"), (-1.0, "worse"), (0.0, "unclear")])
def test_verdict_and_p(shift, verdict) -> None:
    values = np.concatenate([[shift], np.linspace(-0.5, 0.5, 999) + shift])
    found = difference_of(values)
    assert found.verdict == verdict
    assert found.p == (pytest.approx(2 / 1000) if shift else 1.0)


def test_the_same_is_never_different() -> None:
    found = difference_of(np.zeros(100))
    assert (found.verdict, found.p) == ("unclear", 1.0)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04.

    A corrected value is never less than the one before, so the last is 0.06.
    """
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_few_units_prove_nothing() -> None:
    """Two pictures that agree do so in every resample; a sign test of two gives at least 1/2."""
    values = np.full(1000, 5.0)
    assert difference_of(values).verdict == "better"

    few = difference_of(values, units=2)
    many = difference_of(values, units=30)
    assert (few.verdict, few.p) == ("unclear", 0.5)
    assert (many.verdict, many.p) == ("better", pytest.approx(2 / 1000))
