"""`transprune cost --paper`: the cost columns of the TransPrune paper beside our own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from transprune.cli.console import legend, new_table, print_json, show

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.cost.paper import PaperRow

COLUMNS = ("table", "method", "tokens", "paper", "ours", "verdict")
MARKS = {
    "matches": "[green]✓ matches[/]",
    "differs": "[bold red]✗ differs[/]",
    "not computable": "· unknown",
}


def print_paper_table(as_json: bool) -> None:
    """Print every published figure, our figure and whether they agree."""
    from transprune.cost.paper import paper_table

    rows = paper_table()
    if as_json:
        print_json({"rows": [asdict(row) for row in rows]})
        return

    numbers: dict[str, int] = {}  # note -> its number in brackets
    for row in rows:
        if row.note:
            numbers.setdefault(row.note, len(numbers) + 1)

    notes = {f"[{number}]": note for note, number in numbers.items()}
    show(_table(rows, numbers), "", legend(notes), "", _totals(rows))


def _table(rows: Sequence[PaperRow], numbers: dict[str, int]) -> Table:
    title = "TransPrune (arXiv 2507.20630), cost columns"
    table = new_table(title, COLUMNS, left=("table", "method", "verdict"))

    previous = None  # a line separates two models
    for row in rows:
        if previous not in (None, (row.table, row.model)):
            table.add_section()

        previous = (row.table, row.model)

        # the backslash keeps rich from reading the bracket as markup
        note = f" \\[{numbers[row.note]}]" if row.note else ""
        # one digit more than published shows how close the two are
        ours = "-" if row.ours is None else f"{row.ours:.{row.decimals + 1}f}"
        unit = "%" if row.unit == "%" else "T"
        table.add_row(
            row.table,
            row.method,
            str(row.tokens),
            f"{row.published} {unit}",
            ours,
            MARKS[row.verdict] + note,
        )

    return table


def _totals(rows: Sequence[PaperRow]) -> str:
    counts = dict.fromkeys(MARKS, 0)
    for row in rows:
        counts[row.verdict] += 1
    return (
        f"{len(rows)} figures: {counts['matches']} match to the printed digit, "
        f"{counts['differs']} differ, {counts['not computable']} have no published schedule"
    )
