"""Records of the speed benchmark: one line of JSON per variant of a cell, written as cells end.

A process killed at any moment leaves complete lines and at most one incomplete line at the end,
which the next run drops. A cell counts as done if all its variants have a record with the same
provenance; anything else is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from transprune.core import strict_json
from transprune.errors import RecordError
from transprune.speed.cells import Cell, Measure
from transprune.speed.runs import Times

Status = Literal["measured", "out of memory", "not supported", "failed", "skipped", "not run"]

# a later run tries these again
AGAIN = ("not run", "failed")

# what two runs must share for their records to stand in one table
IDENTITY = ("card", "driver", "versions", "commit", "dtype", "seed", "threads")


@dataclass(frozen=True)
class Record:
    """One variant in one cell.

    Attributes:
        shape, attention, batch, measure: the cell.
        variant: name in tables.
        recipe: the method as text; None for the unpruned model.
        status: `"measured"`, or why there are no figures.
        reason: a sentence about any other status.
        seconds: one mapping per round, what was timed -> seconds. Round i of all variants of a cell
            ran side by side.
        peak_bytes: what a prefill needed at once besides weights and inputs; None if unknown.
        weight_bytes: bytes of the weights.
        kept: visual tokens in the prompt, then those left after each boundary.
        provenance: machine, versions, settings.
    """

    shape: str
    attention: str
    batch: int
    measure: Measure
    variant: str
    recipe: str | None
    status: Status
    reason: str = ""
    seconds: Sequence[Times] = ()
    peak_bytes: int | None = None
    weight_bytes: int | None = None
    kept: Sequence[int] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """The cell it belongs to."""
        return Cell(self.shape, self.attention, self.batch, self.measure)

    def times(self, what: str) -> list[float]:
        """Seconds of one thing, round by round; empty if it was not timed."""
        return [times[what] for times in self.seconds if what in times]

    def belongs_to(self, provenance: Mapping[str, Any]) -> bool:
        """Whether it comes from the same machine, versions and settings."""
        return all(self.provenance.get(key) == provenance.get(key) for key in IDENTITY)


class RecordFile:
    """A file of records: those that are there, and new ones at its end.

    Opening drops an incomplete last line.

    Attributes:
        path: the file; its folder is made if it is missing.

    Raises:
        RecordError: a line in the middle is damaged, or the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            complete = content[: content.rfind(b"\n") + 1]
            if complete != content:
                path.write_bytes(complete)
        except OSError as error:
            raise _cannot_use(path, error) from error

        self._records: list[Record] = []
        for number, line in enumerate(complete.splitlines(), start=1):
            self._records.append(_parse(line, path, number))

    def append(self, records: Sequence[Record]) -> None:
        """Write records and flush them.

        Raises:
            RecordError: they cannot be written.
        """
        text = "".join(strict_json.write(asdict(record)) + "\n" for record in records)
        try:
            with self.path.open("ab") as stream:
                stream.write(text.encode("utf-8"))
        except OSError as error:
            raise _cannot_use(self.path, error) from error
        self._records += records

    def latest(self, provenance: Mapping[str, Any]) -> list[Record]:
        """The newest record of each variant and cell with this provenance, oldest cell first."""
        newest: dict[tuple[Cell, str], Record] = {}
        for record in self._records:
            if record.belongs_to(provenance):
                newest[record.cell, record.variant] = record
        return list(newest.values())

    def done(self, cell: Cell, recipes: Mapping[str, str | None], provenance: Any) -> bool:
        """Whether every variant of a cell has a record that need not be tried again."""
        recorded = set()
        for record in self.latest(provenance):
            if record.cell == cell and record.status not in AGAIN:
                recorded.add((record.variant, record.recipe))
        return set(recipes.items()) <= recorded


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        return Record(**strict_json.read(line))
    except (ValueError, TypeError) as error:
        raise RecordError(
            f"{path}, line {number} is no record of this benchmark ({error}); remove the line, or "
            "choose another file"
        ) from error


def _cannot_use(path: Path, error: OSError) -> RecordError:
    return RecordError(f"{path} cannot be used: {error.strerror or error}; choose another file")
