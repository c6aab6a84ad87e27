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


def answers_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy per category, one column per condition, and how many were asked as trained."""
    first = next(iter(scores.values()))
    title = f"{first['scenes']} scenes of the {first['split']} split, right %"
    table = new_table(title, ["questions", "n", *scores], left=("questions",))

    for name, tally in first["categories"].items():
        values = [score["categories"].get(name) for score in scores.values()]
        shown = [f"{value['percent']:.1f}" if value else "" for value in values]
        table.add_row(name, str(tally["asked"]), *shown)

    table.add_section()
    means = [f"{score['mean']:.1f}" for score in scores.values()]
    table.add_row("mean of categories", "", *means)
    return table


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
