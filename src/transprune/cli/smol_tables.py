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


def answers_table(name: str, scores: Mapping[str, Any]) -> Table:
    """Accuracy per category, with grey pictures too.

    Args:
        name: what was asked.
        scores: of `smol_intervals.with_intervals`.
    """
    title = f"{name}: {scores['scenes']} scenes of the {scores['split']} split"
    columns = ["questions", "n", "right %", "95 %", "grey %", "more than grey, 95 %", "seen"]
    table = new_table(title, columns, left=("questions",))

    for category, tally in scores["categories"].items():
        grey = scores["blank"]["categories"][category]["percent"]
        more = scores["over_blank"][category]
        table.add_row(
            category,
            str(tally["asked"]),
            f"{tally['percent']:.1f}",
            _ends(tally, ""),
            f"{grey:.1f}",
            _ends(more, "+"),
            "yes" if more["seen"] else "no",
        )

    table.add_section()
    ends = _ends(scores["mean_interval"], "")
    mean, grey = scores["mean"], scores["blank"]["mean"]
    table.add_row("mean of categories", "", f"{mean:.1f}", ends, f"{grey:.1f}", "", "")
    return table


def talk_table(before: Mapping[str, str], after: Mapping[str, str]) -> Table:
    """Texts with the answers of the language model alone, and of the model with a vision tower."""
    same = sum(after[text] == said for text, said in before.items())
    columns = ["text", "language model alone", "with a vision tower"]
    table = new_table(f"{same} of {len(before)} in the same words", columns, wrap=columns)
    table.show_lines = True  # answers are of several lines
    for text, said in before.items():
        table.add_row(text, said, "the same" if after[text] == said else after[text])
    return table


def _cells(tally: Mapping[str, Any]) -> list[str]:
    return [f"{tally['percent']:.1f}", str(tally["asked"])]


def _ends(interval: Mapping[str, float], sign: str) -> str:
    return f"{interval['low']:{sign}.1f}..{interval['high']:{sign}.1f}"
