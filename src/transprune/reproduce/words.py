"""Figures and sentences of a table run again, for the page and for the terminal."""

from __future__ import annotations

from transprune.reproduce.exhibits import NONE
from transprune.reproduce.result import Result, Value

LARGE = 100  # differences of MME scores from here on have no decimals


def number(value: float | None, like: str = "0.0") -> str:
    """A figure with the decimals of the published one; `-` for none."""
    if value is None:
        return NONE
    decimals = len(like.partition(".")[2])
    return f"{value:.{decimals}f}"


def cell_words(value: Value) -> dict[str, str]:
    """Published, ours, difference with interval, and a note, as texts."""
    like = value.published if value.published != NONE else "0.0"
    words = {
        "published": value.published,
        "ours": number(value.ours, like),
        "difference": "",
        "interval": "",
        "note": value.reason,
    }

    interval = value.difference_interval
    if value.difference is not None and interval is not None:
        # the difference needs one digit even where MME prints none
        words["difference"] = signed(value.difference)
        words["interval"] = f"{signed(interval[0])} to {signed(interval[1])}"

    return words


def signed(value: float) -> str:
    """A difference with its sign; large ones without decimals."""
    digits = 0 if abs(value) >= LARGE else 1
    # a sum of 0.0 makes a rounded -0.0 positive
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes / 60:.1f} hours" if minutes > 90 else f"{minutes:.1f} minutes"


def comparison_words(result: Result) -> str:
    """Whether ours may be compared with the published figures, and why not."""
    published = result.exhibit.model
    if not result.model:
        return "Counted from the sizes of the models alone; nothing was run."
    if result.smoke:
        return (
            f"A smoke run: {result.model} answered a few drawn rows that only have the layout of "
            f"the benchmarks. Nothing here says anything about the published figures, which are of "
            f"{published}; it shows that the whole way works."
        )

    # any of these alone makes two figures incomparable
    reasons = []
    if result.model != published:
        reasons.append(f"the model is {result.model}, the published figures are of {published}")
    if result.limit is not None:
        reasons.append(f"only the first {result.limit} questions of each benchmark were asked")

    reasons += [f"of {name} {reason}" for name, reason in result.shortages.items()]
    if reasons:
        return f"Not to be compared as they stand: {'; '.join(reasons)}."
    return (
        f"{published}, all questions. Prompts and scores follow LLaVA-1.5's evaluation; the papers "
        "do not print theirs. The interval is of ours alone: the published figures have none."
    )
