"""What there is to run again, and what it needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.reproduce.estimate import hours
from transprune.reproduce.exhibits import Exhibit, exhibit_names, read_exhibit


@dataclass(frozen=True)
class Entry:
    """One table or figure.

    Attributes:
        name: as the command takes it.
        title: what it shows.
        kind: of the exhibit.
        model: weights that it needs; empty for none.
        data: data sets that it needs.
        missing: benchmarks that cannot be asked in this release.
        rows: how many rows can run.
        unknown: names of rows whose configuration is not published.
        inferred: names of rows of which something was filled in.
        hours: on one GPU, counted.
        judge: whether the published figures are a judge's.
    """

    name: str
    title: str
    kind: str
    model: str
    data: tuple[str, ...]
    missing: tuple[str, ...]
    rows: int
    unknown: tuple[str, ...]
    inferred: tuple[str, ...]
    hours: float
    judge: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def entries() -> tuple[Entry, ...]:
    """Every table and figure, in the order of the paper."""
    return tuple(_entry(read_exhibit(name)) for name in exhibit_names())


def _entry(exhibit: Exhibit) -> Entry:
    known = [BENCHMARKS[name] for name in exhibit.columns if name in BENCHMARKS]
    return Entry(
        name=exhibit.id,
        title=exhibit.title,
        kind=exhibit.kind,
        model=exhibit.model,
        data=tuple(dict.fromkeys(benchmark.repositories[-1] for benchmark in known)),
        missing=tuple(name for name in exhibit.columns if name not in BENCHMARKS),
        rows=sum(bool(row.recipe) for row in exhibit.rows),
        unknown=tuple(row.name for row in exhibit.rows if row.unknown),
        inferred=tuple(row.name for row in exhibit.rows if row.inferred),
        hours=round(hours(exhibit), 1),
        judge=any(benchmark.judged for benchmark in known),
    )
