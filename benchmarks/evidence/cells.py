"""Figures of the page as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import wrap

from .claim import Claim, Comparison
from .ladder import Ladder
from .published import difference
from .verdict import HOLDS, MISSING, Measured, judge

MINUS = "\N{MINUS SIGN}"
WIDTH = 100  # of a line of text
DIGITS = {"points": 1, "AUC": 2, "%": 1}  # behind the point, by unit

Counts = tuple[int, int]  # pictures, questions


def signed(value: float, unit: str = "points") -> str:
    """`+1.5`, with a true minus sign; what rounds to zero has no sign."""
    text = f"{value:+.{DIGITS[unit]}f}"
    if not any(digit in text for digit in "123456789"):
        return text[1:]
    return text.replace("-", MINUS)


def span(low: float, high: float, unit: str = "points") -> str:
    """`[+0.4, +1.9]`."""
    return f"[{signed(low, unit)}, {signed(high, unit)}]"


def measured_cell(measured: Measured | None, comparison: Comparison, usual: Counts | None) -> str:
    """A comparison on one model: difference, interval, word; with its pictures if unusual."""
    if measured is None:
        return MISSING

    unit = comparison.unit
    text = f"{signed(measured.value, unit)} {span(measured.low, measured.high, unit)}"
    if not comparison.neutral:
        text += f" {measured.word}"
    if usual is not None and (measured.pictures, measured.questions) != usual:
        text += f" ({measured.pictures} pictures)"
    return text


def printed_cell(comparison: Comparison) -> str:
    """What the paper prints for a comparison; a star where `Acc.` was computed from its cells."""
    parts = []
    for printed in comparison.printed:
        found = difference(printed)
        star = r"\*" if found.computed else ""
        parts.append(f"{signed(found.value)}{star} ({found.label})")
    return ", ".join(parts) or "-"


def printed_range(claim: Claim) -> str:
    """The smallest and the largest difference that the paper prints for a claim."""
    values = [
        difference(printed).value
        for comparison in claim.comparisons
        for printed in comparison.printed
    ]
    if not values:
        return "no figure"
    low, high = min(values), max(values)
    # one figure, or several that are printed alike
    if signed(low) == signed(high):
        return signed(low)
    return f"{signed(low)} to {signed(high)}"


def results(claim: Claim, ladder: Ladder) -> list[Measured | None]:
    """The claim's comparisons on one model."""
    return [ladder.differences.get(comparison.key) for comparison in claim.comparisons]


def verdict_cell(claim: Claim, ladder: Ladder) -> str:
    """The verdict, with how many of the comparisons hold."""
    found = results(claim, ladder)
    word = judge(found)
    if word == MISSING:
        return word

    holding = sum(one is not None and one.word == HOLDS for one in found)
    return f"**{word}** ({holding} of {len(found)})"


def usual_counts(measured: Iterable[Measured | None]) -> Counts | None:
    """Pictures and questions that most comparisons rest on."""
    counts = Counter((one.pictures, one.questions) for one in measured if one is not None)
    return counts.most_common(1)[0][0] if counts else None


def layer_list(layers: Sequence[int]) -> str:
    """`2 to 4, 6`, or `none`."""
    if not layers:
        return "none"

    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(_run(run) for run in runs)


def _run(run: Sequence[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    # two layers are no range
    return f"{run[0]}, {run[1]}" if len(run) == 2 else f"{run[0]} to {run[-1]}"


def paragraph(text: str) -> list[str]:
    """The lines of a paragraph, as wide as other pages."""
    return wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown; a bar inside a cell is escaped."""
    lines = [_line(heads), "|" + "---|" * len(heads)]
    return [*lines, *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
