"""Rows as tables: for the console, and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from .rows import Row

COLUMNS = ("pruned", "compared with", "ratio", "of minima", "middle half of rounds", "aim", "")
NARROW = ("pruned", "beside", "ratio", "minima", "aim", "")  # without the spread: 80 columns


def console_tables(rows: Sequence[Row]) -> list[Table]:
    """A table per group, in the order in which the groups first appear."""
    tables = []
    for group, members in by_group(rows).items():
        table = Table(title=group, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        # long names are folded, figures never cut
        table.add_column("", overflow="fold")
        for column in NARROW:
            table.add_column(column, justify="right", no_wrap=True)

        for row in members:
            pruned, base, figure, minima, _, aim, verdict = cells(row)
            table.add_row(row.what, pruned, base, figure, minima, aim, verdict)
        tables.append(table)
    return tables


def markdown_table(rows: Sequence[Row]) -> str:
    """One table with the group in a column of its own, and reasons for missed aims below it."""
    header = ("", "", *COLUMNS)
    lines = [f"| {' | '.join(header)} |", "|---|---|" + "---:|" * len(COLUMNS)]

    for group, members in by_group(rows).items():
        # the name stands in the first row of its group only
        heading = group
        for row in members:
            lines.append(f"| {' | '.join((heading, row.what, *cells(row)))} |")
            heading = ""

    named = reasons(rows)
    if named:
        lines += ["", *(f"- {reason}" for reason in named)]
    return "\n".join(lines)


def by_group(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each group."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def reasons(rows: Sequence[Row]) -> list[str]:
    """One line for each aim that is not met and has a known reason."""
    lines = []
    for row in rows:
        if row.reason:
            lines.append(f"{row.group}, {row.what}: {row.reason}")
    return lines


def cells(row: Row) -> tuple[str, ...]:
    """Everything but the name of a row, in the order of `COLUMNS`."""
    minima = "" if row.minima is None else f"{row.minima:.3f}"
    middle = "" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
    aim = "" if row.limit is None else f"{row.limit:.3f}"
    amounts = (_amount(row.value, row.unit), _amount(row.base, row.unit))
    return (*amounts, f"{row.ratio:.3f}", minima, middle, aim, row.verdict)


def _amount(value: float, unit: str) -> str:
    if unit == "operations":
        return f"{value:.0f}"
    if unit == "share":
        return f"{value:.1%}"

    # three digits are more than such figures repeat
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"
