"""Break-even: where a method pays, on measurements whose answer is known."""

from __future__ import annotations

import pytest

from speed.cases import METHOD, point
from transprune.speed.breakeven import LONGEST, answer_ratio, outlooks, phase_ratio, span


def test_an_answer_is_its_prefill_and_a_token_after_each_token():
    here = point(576, 1, prefill=0.5, per_token=0.8)
    assert phase_ratio(here, METHOD, "prefill").median == pytest.approx(0.5)
    assert phase_ratio(here, METHOD, "per_token").median == pytest.approx(0.8)

    # the first token comes with the prefill; 0.1 s for each of the others
    assert answer_ratio(here, METHOD, 1).median == pytest.approx(0.5)
    assert answer_ratio(here, METHOD, 11).median == pytest.approx((0.5 + 0.8) / (1 + 1))


@pytest.mark.parametrize(
    ("prefill", "per_token", "first", "last"),
    [
        (0.5, 0.9, 1, LONGEST),  # pays for everything
        (1.2, 1.1, None, None),  # for nothing
        # costs 0.2 s in the prefill, saves 0.01 s with each further token: 20 of them make up for it
        (1.2, 0.9, 22, LONGEST),
        # saves 0.3 s in the prefill, loses 0.01 s with each further token
        (0.7, 1.1, 1, 30),
    ],
)
def test_the_answers_for_which_a_method_pays(prefill, per_token, first, last):
    found = span(point(576, 1, prefill, per_token), METHOD)
    assert (found.first, found.last) == (first, last)


def test_a_span_says_what_holds_for_the_shortest_and_longest_answer():
    never = span(point(576, 1, 1.2, 1.1), METHOD)
    assert (never.one, never.longest) == ("costs", "costs")
    noisy = span(point(576, 1, 1.0, 1.0, noise=0.1), METHOD)
    assert (noisy.first, noisy.one, noisy.longest) == (None, "unclear", "unclear")


def test_pays_from_a_batch_on():
    points = [point(576, 16, 0.6, 0.8), point(576, 1, 1.1, 1.1), point(576, 4, 0.8, 0.9)]
    (found,) = outlooks(points, METHOD, 20, "batch")
    assert dict(found.verdicts) == {1: "costs", 4: "pays", 16: "pays"}
    assert list(found.verdicts) == [1, 4, 16]
    assert (found.axis, found.fixed, found.first) == ("batch", 576, 4)


def test_pays_from_a_prompt_length_on():
    points = [point(144, 1, 1.1, 1.0), point(288, 1, 0.9, 1.0), point(288, 4, 0.5, 1.0)]
    alone, batch = outlooks(points, METHOD, 1, "prompt")
    assert (alone.fixed, alone.first, dict(alone.verdicts)) == (1, 288, {144: "costs", 288: "pays"})
    assert (batch.fixed, batch.first, dict(batch.verdicts)) == (4, 288, {288: "pays"})


def test_never_pays():
    points = [point(576, batch, 1.2, 1.1) for batch in (1, 4, 16)]
    (found,) = outlooks(points, METHOD, 20, "batch")
    assert found.first is None
    assert set(found.verdicts.values()) == {"costs"}


def test_an_interval_that_includes_1_is_no_gain():
    noisy = [point(576, 1, 0.95, 0.95, noise=0.1), point(576, 4, 0.95, 0.95)]
    (found,) = outlooks(noisy, METHOD, 20, "batch")
    assert dict(found.verdicts) == {1: "unclear", 4: "pays"}
    assert found.first == 4


def test_a_gain_that_a_larger_batch_loses_again_is_no_break_even():
    points = [point(576, 1, 0.8, 0.8), point(576, 4, 1.2, 1.2)]
    (found,) = outlooks(points, METHOD, 20, "batch")
    assert found.first is None


def test_points_without_the_method_are_left_out():
    assert outlooks([point(576, 1, 0.8, 0.8)], "fastv", 20, "batch") == []
