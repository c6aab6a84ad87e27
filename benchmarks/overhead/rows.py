"""One figure of this benchmark: what it compares, its aim, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from transprune.bench.data.provenance import commit, machine, versions

from .timing import Times, ratio


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        group: the table section it belongs to, such as `"batch 8"`.
        what: the rest of its name, such as `"transprune-high: prefill"`.
        value: of the pruned run, in `unit`.
        base: of the run it is compared with.
        unit: `"ms"`, `"operations"`, `"MiB"` or `"share"`.
        ratio: value / base; for times of the medians.
        minima: the same of the smallest times; None for counts, which do not vary.
        low, high: quartiles of the ratios within rounds; None for counts.
        limit: the ratio that is aimed at; None without an aim.
        reason: why the ratio is so large, for a row that exceeds its limit.
    """

    group: str
    what: str
    value: float
    base: float
    unit: str
    ratio: float
    minima: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """`"met"`, `"missed"`, `"open"` where medians and minima disagree, or `""` without an aim."""
        if self.limit is None:
            return ""

        figures = [self.ratio] if self.minima is None else [self.ratio, self.minima]
        met = [figure <= self.limit for figure in figures]
        if all(met):
            return "met"
        return "open" if any(met) else "missed"

    def because(self, reason: str) -> Row:
        """The same row with a reason, if its aim is not met; else unchanged."""
        return self if self.verdict in ("", "met") else replace(self, reason=reason)


def time_row(
    group: str, what: str, times: Times, name: str, base: str, limit: float | None = None
) -> Row:
    """A comparison of two timed contenders, in milliseconds."""
    figures = ratio(times, name, base)
    return Row(
        group=group,
        what=what,
        value=1000 * median(times[name]),
        base=1000 * median(times[base]),
        unit="ms",
        ratio=figures["ratio"],
        minima=figures["minima"],
        low=figures["low"],
        high=figures["high"],
        limit=limit,
    )


def count_row(
    group: str, what: str, value: float, base: float, unit: str, limit: float | None = None
) -> Row:
    """A comparison of two counts."""
    return Row(group, what, value, base, unit, ratio=value / base, limit=limit)


def provenance(part: str, rounds: int) -> dict[str, Any]:
    """Versions, revision, machine and settings behind the figures of one part."""
    return {
        "part": part,
        "rounds": rounds,
        "seed": 0,
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
    }


def write_row(file: Path, row: Row, source: dict[str, Any]) -> None:
    """Append a row as one JSON line, at once: long parts may be stopped at any time."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({**source, **asdict(row)}) + "\n")


def read_rows(file: Path) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Every row of a file with its provenance, in the order in which they were written."""
    if not file.exists():
        return

    for line in file.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        fields = {name: data.pop(name) for name in Row.__dataclass_fields__}
        yield Row(**fields), data
