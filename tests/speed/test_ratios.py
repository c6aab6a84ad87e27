"""Paired ratios: figures that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from transprune.speed.ratios import median_interval, paired_ratio


def test_ratios_are_taken_within_rounds():
    """The machine is twice as slow in the second round, for both: the ratio does not notice."""
    ratio = paired_ratio([0.5, 1.0, 0.5], [1.0, 2.0, 1.0])
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (0.5, 0.5, 0.5, 3)


def test_median_quartiles_and_minima():
    base = [1.0] * 5
    ratio = paired_ratio([0.9, 0.5, 0.7, 0.6, 0.8], base)
    assert ratio.median == pytest.approx(0.7)
    assert (ratio.low_quartile, ratio.high_quartile) == (pytest.approx(0.6), pytest.approx(0.8))
    assert ratio.of_minima == pytest.approx(0.5)


def test_the_ratio_of_minima_is_not_the_smallest_ratio():
    ratio = paired_ratio([2.0, 4.0], [4.0, 2.0])
    assert ratio.of_minima == 1.0


@pytest.mark.parametrize(
    ("count", "cut", "level"),
    [
        (1, 0, 0.0),
        (5, 0, 1 - 2 / 32),  # the whole range, less than 95 %
        (6, 0, 1 - 2 / 64),
        (9, 1, 1 - 2 * 10 / 512),
        (15, 3, 1 - 2 * (1 + 15 + 105 + 455) / 2**15),
    ],
)
def test_the_interval_of_the_median_is_that_of_the_tables(count, cut, level):
    low, high, found = median_interval(list(range(count)))
    assert (low, high) == (cut, count - 1 - cut)
    assert found == pytest.approx(level)


def test_the_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        low, high, level = median_interval(rng.exponential(size=11).tolist())
        covered += low <= np.log(2) <= high
    assert level >= 0.95
    assert covered / 2000 == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ([0.8] * 6, "pays"),
        ([1.2] * 6, "costs"),
        ([0.8] * 5 + [1.1], "unclear"),  # six rounds allow no outlier
        ([0.8] * 10 + [1.1], "pays"),  # eleven allow one
    ],
)
def test_a_verdict_needs_an_interval_on_one_side(seconds, verdict):
    assert paired_ratio(seconds, [1.0] * len(seconds)).verdict == verdict


@pytest.mark.parametrize(("seconds", "base"), [([], []), ([1.0], [1.0, 2.0])])
def test_without_pairs_there_is_no_ratio(seconds, base):
    with pytest.raises(ValueError, match="expected pairs of times"):
        paired_ratio(seconds, base)
