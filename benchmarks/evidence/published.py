"""The comparisons of a claim in the paper's own tables, which print no intervals.

`Acc.` is 100 x the mean over benchmarks of score / unpruned score. Where a table does not print it,
it is computed here from the benchmarks that both rows have, with the unpruned scores of Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from transprune.errors import BenchError
from transprune.reproduce.exhibits import NONE, Exhibit, Row, read_exhibit

from .claim import Printed

UNPRUNED = "table1"  # where the unpruned scores stand for tables that have none


@dataclass(frozen=True)
class PublishedDifference:
    """Two rows of the paper.

    Attributes:
        label: of the table, `Table 12`.
        value: `Acc.` of the better row minus that of the worse one.
        computed: whether `Acc.` was computed from the cells.
        better_share, worse_share: published costs in percent of unpruned; `-` where none is printed.
    """

    label: str
    value: float
    computed: bool
    better_share: str
    worse_share: str


def difference(printed: Printed) -> PublishedDifference:
    """What the paper prints for a comparison.

    Raises:
        BenchError: no such table or row, or two rows without a common benchmark.
    """
    exhibit = read_exhibit(printed.exhibit)
    elsewhere = read_exhibit(printed.better_in or printed.exhibit)
    better = row_of(elsewhere, printed.better)
    worse = row_of(exhibit, printed.worse)

    if NONE not in (better.acc, worse.acc):
        value = float(better.acc) - float(worse.acc)
        return PublishedDifference(exhibit.label, value, False, better.share, worse.share)

    cells = _cells(elsewhere, better)
    others = _cells(exhibit, worse)
    shared = [column for column in others if column in cells]
    value = _accuracy(exhibit, cells, shared) - _accuracy(exhibit, others, shared)
    return PublishedDifference(exhibit.label, value, True, better.share, worse.share)


def row_of(exhibit: Exhibit, name: str) -> Row:
    """The row of this name.

    Raises:
        BenchError: the table has none.
    """
    for row in exhibit.rows:
        if row.name == name:
            return row
    raise BenchError(
        f"{exhibit.label} has no row {name!r}; its rows: {', '.join(row.name for row in exhibit.rows)}"
    )


def _cells(exhibit: Exhibit, row: Row) -> dict[str, float]:
    """Benchmark -> printed score."""
    pairs = zip(exhibit.columns, row.cells, strict=True)
    return {column: float(cell) for column, cell in pairs if cell != NONE}


def _accuracy(exhibit: Exhibit, cells: dict[str, float], columns: list[str]) -> float:
    """`Acc.` of a row over some benchmarks."""
    has_own = any(row.unpruned for row in exhibit.rows)
    source = exhibit if has_own else read_exhibit(UNPRUNED)
    unpruned = _cells(source, row_of(source, "unpruned"))

    if not columns:
        raise BenchError(f"{exhibit.label}: the two rows have no benchmark in common")
    return 100 * fmean(cells[column] / unpruned[column] for column in columns)
