"""From the rows of an input to shards, without the rows that are answered already.

Windows are cut from all rows of the input, and then the answered ones are taken out. So a continued
job has the shards of an undisturbed one, except for those that were interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from transprune.batch.inputs.base import Table
from transprune.batch.row import Row, Shard, clean, digest
from transprune.core.shown import shown
from transprune.errors import BatchError


@dataclass
class Planned:
    """What is left to do.

    Attributes:
        shards: packed, in the order of the input.
        rows: of the input, up to the limit.
        pending: those without an answer.
        ids: digests of the ids of all rows.
        notes: sentences that the user should read.
    """

    shards: list[bytes] = field(default_factory=list)
    rows: int = 0
    pending: int = 0
    ids: set[bytes] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def plan_shards(
    table: Table, done: Mapping[bytes, bytes], part_rows: int, limit: int | None = None
) -> Planned:
    """Cut the rows of an input into shards.

    Args:
        table: the input.
        done: digests of ids -> digests of what was asked, of the answered rows.
        part_rows: rows of a window.
        limit: only so many rows from the start; None for all.

    Raises:
        BatchError: no rows, or a row that was answered before asks something else now.
    """
    planned = Planned()
    rows = _distinct(islice(table.rows(), limit), planned)
    # windows are cut before answered rows leave them, so each has the same number in every run
    for number, window in enumerate(_windows(rows, part_rows)):
        pending = []
        for row in window:
            if not _is_done(row, done):
                pending.append(row)
        planned.pending += len(pending)
        if pending:
            planned.shards.append(Shard(number, tuple(pending)).pack())

    if not planned.rows:
        raise BatchError(f"{table.place} has no {table.noun}")

    planned.notes += table.notes
    return planned


def _windows(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while window := list(islice(rows, size)):
        yield window


def _distinct(rows: Iterator[Row], planned: Planned) -> Iterator[Row]:
    """The rows, with ids that are all different."""
    repeated = 0
    example = ""
    latest: dict[bytes, int] = {}  # the number that a repeated id got last
    for row in rows:
        id = clean(row.id)
        first = key = digest(id)
        number = latest.get(first, 1)
        # the same in every start, because the order of the rows is
        while key in planned.ids:
            number += 1
            key = digest(f"{id}#{number}")
        if key != first:
            # from here on, or many rows with one id would take time that grows with their square
            latest[first] = number
            repeated += 1
            example = example or id
            id = f"{id}#{number}"

        planned.ids.add(key)
        planned.rows += 1
        yield row._replace(id=id)

    if repeated:
        planned.notes.append(
            f"{repeated} rows have an id that another row had before, as {shown(example)}; each "
            "got a number behind it (#2, #3, ...)"
        )


def _is_done(row: Row, done: Mapping[bytes, bytes]) -> bool:
    asked = done.get(digest(row.id))
    if asked is None:
        return False
    if asked != row.digest:
        raise BatchError(
            f"row {shown(row.id)} was answered before, about another picture or another question: "
            f"now it is {shown(row.source)}, {shown(row.question)}. Choose another --output"
        )

    return True
