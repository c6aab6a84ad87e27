"""Records as tables for reading: time and memory of every variant, as the paper's Table 8.

They are Markdown, so that figures can be pasted into a document.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from transprune.speed.statement import quantity_title, setting_title
from transprune.speed.summary import Row, Setting

GIGABYTE = 1e9  # as the paper counts


def latency_table(setting: Setting, rows: Sequence[Row]) -> Table:
    """One table: milliseconds, and the median of paired ratios to unpruned in brackets."""
    quantities = list(dict.fromkeys(what for row in rows for what in row.seconds))
    table = Table(title=setting_title(setting), title_justify="left", box=box.MARKDOWN)
    table.add_column("method", no_wrap=True)
    table.add_column("visual tokens", no_wrap=True)
    for what in quantities:
        table.add_column(f"{quantity_title(what)}, ms", justify="right", no_wrap=True)
    table.add_column("peak GB", justify="right", no_wrap=True)

    for row in rows:
        times = [_time(row, what) for what in quantities]
        table.add_row(row.variant, _tokens(row), *times, _memory(row))
    return table


def _time(row: Row, what: str) -> str:
    if what not in row.seconds:
        return "-"
    milliseconds = f"{1000 * row.seconds[what]:.1f}"
    if what not in row.ratios:
        return milliseconds
    return f"{milliseconds} ({row.ratios[what].median:.2f})"


def _tokens(row: Row) -> str:
    """`576, 504, 360, 72`: in the prompt, then after each boundary."""
    return ", ".join(map(str, row.kept)) or "all"


def _memory(row: Row) -> str:
    if row.memory is None:
        return "-"
    # a miniature has megabytes
    digits = 2 if row.memory >= GIGABYTE else 4
    return f"{row.memory / GIGABYTE:.{digits}f}"
