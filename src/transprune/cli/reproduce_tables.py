"""The tables of `transprune reproduce`: what there is, and published beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from transprune.cli.console import legend, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.reproduce.catalogue import Entry
    from transprune.reproduce.result import Result, RowResult

COLUMNS = ("name", "shows", "rows", "weights", "data", "hours")
COSTS = ("row", "published", "counted", "published %", "counted %", "all tokens %", "measured %")


def catalogue(entries: Sequence[Entry]) -> Iterator[Any]:
    """Every table and figure, and what is not published of them."""
    table = new_table("TransPrune (arXiv 2507.20630)", COLUMNS, wrap=("shows", "weights", "data"))
    for entry in entries:
        total = entry.rows + len(entry.unknown)
        rows = f"{entry.rows} of {total}" if total else "-"
        data = ", ".join(name.split("/")[1] for name in entry.data)
        if entry.judge:
            data += "; a judge (an endpoint)"
        if entry.missing:
            data += f"not in this release: {', '.join(entry.missing)}"
        hours = f"{entry.hours:.1f}" if entry.hours else "-"
        table.add_row(entry.name, entry.title, rows, entry.model or "none", data or "none", hours)

    yield table

    yield ""
    yield legend(
        {
            "rows": "those that can run, of those that are printed: the configurations of the "
            "others are not published",
            "hours": "on one A100 for every question, counted and not measured; a run says first "
            "what it expects on its own device",
            "--smoke": "the bundled model and a few drawn rows, minutes on a CPU",
        }
    )


def result_tables(result: Result) -> Iterator[Any]:
    """Accuracy, cost and time of a table run again."""
    from transprune.reproduce.words import comparison_words

    yield comparison_words(result)
    if result.exhibit.columns:
        yield ""
        yield _accuracy(result)

    yield ""
    yield _costs(result)
    if result.exhibit.kind == "timing":
        yield ""
        yield _times(result.rows)
    if lines := _reasons(result):
        yield ""
        yield "\n".join(lines)


def _accuracy(result: Result) -> Table:
    """One line for each cell: narrow terminals have no room for ten columns of three figures."""
    from transprune.reproduce.exhibits import NONE
    from transprune.reproduce.words import cell_words

    columns = ("row", "benchmark", "published", "ours", "difference", "95 %")
    title = f"{result.exhibit.label}: {result.exhibit.title}"
    table = new_table(title, columns, left=("benchmark",), wrap=("row",))

    for row in result.rows:
        table.add_section()
        values = [("Acc.", row.acc), *zip(_titles(result), row.cells, strict=True)]
        name = row.row.name
        for heading, value in values:
            # what is neither published nor answered is no line
            if value.published == NONE and value.ours is None:
                continue

            words = cell_words(value)
            ours = words["ours"] + ("" if value.ours is None or not value.reason else " *")
            table.add_row(
                name, heading, words["published"], ours, words["difference"], words["interval"]
            )
            name = ""

    return table


def _titles(result: Result) -> list[str]:
    from transprune.reproduce.page import title_of

    return [title_of(name) for name in result.exhibit.columns]


def _costs(result: Result) -> Table:
    unit = "T MACs" if result.exhibit.unit == "T" else "% of token-layers"
    table = new_table(f"prefill, {unit}", COSTS, wrap=("row",))
    for row in result.rows:
        counted = row.counted
        cells = ["-", "-", "-"]
        if counted is not None:
            cells = [f"{counted.cost:.3f}", f"{counted.share:.1f}", f"{counted.exact:.1f}"]
        measured = "-" if row.exact_share is None else f"{row.exact_share:.1f}"
        own = (row.row.cost, cells[0], row.row.share, cells[1], cells[2], measured)
        table.add_row(row.row.name, *own)

    return table


def _times(rows: Sequence[RowResult]) -> Table:
    columns = ("row", "ms, published", "ms, ours", "GB, published", "GB, ours")
    table = new_table("one answer", columns, wrap=("row",))
    for row in rows:
        ours = ("-", "-")
        if row.timing is not None:
            ours = (f"{row.timing.milliseconds:.1f}", f"{row.timing.gigabytes:.2f}")
        table.add_row(row.row.name, row.row.milliseconds, ours[0], row.row.gigabytes, ours[1])

    return table


def _reasons(result: Result) -> list[str]:
    """Why cells have no figure, or not a complete one: each reason once."""
    found: dict[str, list[str]] = {}
    lines = []
    for row in result.rows:
        if row.row.unknown:
            lines.append(f"{row.row.name}: not run: {row.row.unknown}")
            continue
        named = zip(("Acc.", *result.exhibit.columns), (row.acc, *row.cells), strict=True)
        for column, value in named:
            if value.reason:
                found.setdefault(f"{row.row.name}: {value.reason}", []).append(column)

    lines += [f"{reason} ({', '.join(columns)})" for reason, columns in found.items()]
    return [*lines, *result.notes]
