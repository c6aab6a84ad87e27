"""Records as a table: every variant of one shape, attention and batch in one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from transprune.speed.cells import UNPRUNED
from transprune.speed.ratios import Ratio, paired_ratio
from transprune.speed.records import Record


@dataclass(frozen=True)
class Setting:
    """What one table is about."""

    shape: str
    attention: str
    batch: int


@dataclass(frozen=True)
class Row:
    """One variant in one setting.

    Attributes:
        variant: its name.
        seconds: what was timed -> median seconds.
        ratios: what was timed -> ratio to the unpruned model; missing where that has no figure.
        memory: bytes of the weights and of what a prefill needs besides; None if unknown.
        kept: visual tokens in the prompt, then those left after each boundary.
        gaps: why figures are missing, one sentence for each reason.
    """

    variant: str
    seconds: Mapping[str, float]
    ratios: Mapping[str, Ratio]
    memory: int | None
    kept: Sequence[int]
    gaps: Sequence[str]


def settings(records: Iterable[Record]) -> list[Setting]:
    """The settings that any record is about, in the order of the records."""
    found = {Setting(record.shape, record.attention, record.batch): None for record in records}
    return list(found)


def rows(records: Iterable[Record], setting: Setting) -> list[Row]:
    """The table of one setting, the unpruned model first if it is there."""
    mine: dict[str, list[Record]] = {}
    for record in records:
        if Setting(record.shape, record.attention, record.batch) == setting:
            mine.setdefault(record.variant, []).append(record)

    base = mine.get(UNPRUNED, [])
    return [_row(variant, found, base) for variant, found in mine.items()]


def _row(variant: str, records: Sequence[Record], base: Sequence[Record]) -> Row:
    seconds: dict[str, float] = {}
    ratios: dict[str, Ratio] = {}
    gaps: dict[str, None] = {}
    # the reasons as keys: each is said once, in order
    for record in records:
        if record.status != "measured":
            gaps[f"{record.status}: {record.reason}"] = None
        for what in record.seconds[0] if record.seconds else ():
            seconds[what] = median(record.times(what))
            if ratio := _ratio(record, base, what):
                ratios[what] = ratio

    peaks = [record for record in records if record.peak_bytes is not None]
    memory = None
    if peaks:
        memory = (peaks[0].peak_bytes or 0) + (peaks[0].weight_bytes or 0)

    kept = max((record.kept for record in records), key=len)
    return Row(variant, seconds, ratios, memory, kept, list(gaps))


def _ratio(record: Record, base: Sequence[Record], what: str) -> Ratio | None:
    """The ratio to the unpruned model in the same cell and rounds; None for that model itself."""
    if record.variant == UNPRUNED:
        return None

    for unpruned in base:
        if unpruned.cell == record.cell and unpruned.status == "measured":
            return paired_ratio(record.times(what), unpruned.times(what))
    return None
