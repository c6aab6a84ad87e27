"""The tables of `transprune smol measure` and `evaluate`, from what they print as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transprune.cli.console import new_table

if TYPE_CHECKING:
    from rich.table import Table


def tower_table(found: Mapping[str, Any]) -> Table:
    """What the tower knows, of kinds of training and of kinds it never saw."""
    title = f"{found['tower']}; {found['scenes']} scenes of the {found['split']} split"
    columns = ["what", "known %", "n", "unseen %", "n "]
    table = new_table(title, columns, left=("what",))

    for what, known in found["known"].items():
        unseen = found["unseen"].get(what)
        cells = _cells(known) + (_cells(unseen) if unseen else ["", ""])
        table.add_row(what, *cells)
    return table


def answers_table(
    scores: Mapping[str, Mapping[str, Any]], gained: Mapping[str, Mapping[str, Any]]
) -> Table:
    """Accuracy per category, one column per condition, and the intervals of the first one.

    Args:
        scores: of `smol_intervals.with_intervals`, by condition, the one as trained first.
        gained: of `smol_intervals.over_blank`.
    """
    first, *others = scores.values()
    title = f"{first['scenes']} scenes of the {first['split']} split, right %"
    trained, *names = scores
    columns = ["questions", "n", trained, "95 %", "over blank", *names]
    table = new_table(title, columns, left=("questions",))

    for name, tally in first["categories"].items():
        values = [score["categories"].get(name) for score in others]
        shown = [f"{value['percent']:.1f}" if value else "" for value in values]
        ends = [_ends(tally, ""), _ends(gained[name], "+")]
        table.add_row(name, str(tally["asked"]), f"{tally['percent']:.1f}", *ends, *shown)

    table.add_section()
    means = [f"{score['mean']:.1f}" for score in others]
    ends = [_ends(first["mean_interval"], ""), ""]
    table.add_row("mean of categories", "", f"{first['mean']:.1f}", *ends, *means)
    return table


def seen_line(gained: Mapping[str, Mapping[str, Any]]) -> str:
    """Which categories need the picture, as far as that is certain."""
    seen = [category for category, difference in gained.items() if difference["seen"]]
    names = ", ".join(seen) or "none"
    return f"better than with grey pictures, also after Holm's correction: {names}"


def talk_table(before: Mapping[str, str], after: Mapping[str, str]) -> Table:
    """Texts with the answers of the language model alone, and of the model with eyes."""
    same = sum(after[text] == said for text, said in before.items())
    columns = ["text", "language model alone", "with eyes"]
    table = new_table(f"{same} of {len(before)} in the same words", columns, wrap=columns)
    table.show_lines = True  # answers are of several lines
    for text, said in before.items():
        table.add_row(text, said, "the same" if after[text] == said else after[text])
    return table


def _cells(tally: Mapping[str, Any]) -> list[str]:
    return [f"{tally['percent']:.1f}", str(tally["asked"])]


def _ends(interval: Mapping[str, float], sign: str) -> str:
    return f"{interval['low']:{sign}.1f}..{interval['high']:{sign}.1f}"
