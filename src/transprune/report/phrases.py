"""Phrases that tables, sentences and figures share."""

from __future__ import annotations

from collections.abc import Sequence

from transprune.bench.results.statistics import Difference

MISSING = "-"  # a cell without a value


def budget_name(budget: float | None) -> str:
    """`41 % of the unpruned prefill work`, or `the methods' own budgets`."""
    if budget is None:
        return "the methods' own budgets"
    return f"{100 * budget:g} % of the unpruned prefill work"


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`; `none` without any word."""
    if not words:
        return "none"
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def describe_difference(difference: Difference | None) -> str:
    """`+1.2 [+0.4, +2.0] significantly better`; empty where there is nothing to compare with."""
    if difference is None:
        return ""

    low = _signed(difference.low)
    interval = f"{_signed(difference.value)} [{low}, {_signed(difference.high)}]"
    if difference.sure:
        return f"{interval} significantly {difference.verdict}"
    if difference.verdict != "unclear":
        return f"{interval} {difference.verdict}, not after Holm"
    return f"{interval} unclear"


def _signed(value: float) -> str:
    """One decimal with its sign; what rounds to zero is `+0.0`, never `-0.0`."""
    return f"{round(value, 1) + 0.0:+.1f}"


def percent(share: float | None) -> str:
    """`41.3 %` for 0.413; `-` where there is none."""
    return MISSING if share is None else f"{100 * share:.1f} %"
