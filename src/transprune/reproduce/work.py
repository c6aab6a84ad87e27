"""A table while it is answered: its benchmarks, what failed, and the result so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transprune.bench.data.provenance import versions
from transprune.bench.run.progress import OnProgress, Progress
from transprune.errors import BenchError, MissingExtra, PruneError
from transprune.models.checkpoint import Checkpoint
from transprune.reproduce.benchmark import BenchmarkRun
from transprune.reproduce.exhibits import NONE, Exhibit, Row
from transprune.reproduce.plan import ReproducePlan
from transprune.reproduce.result import Result, RowResult, build_row
from transprune.reproduce.scores import BenchmarkScores
from transprune.reproduce.timing import Timing

OnNote = Callable[[str], None]


@dataclass
class Work:
    """A table while it is answered."""

    plan: ReproducePlan
    exhibit: Exhibit
    rows: tuple[Row, ...]
    checkpoint: Checkpoint
    runs: dict[str, BenchmarkRun] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # benchmark -> why it cannot be asked
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    scores: dict[str, BenchmarkScores] = field(default_factory=dict)

    def asks(self, row: Row, column: str) -> bool:
        """Whether a cell is to be answered: something can run, and something was published."""
        cell = row.cells[self.exhibit.columns.index(column)]
        return bool(row.recipe) and cell != NONE and column in self.runs

    @property
    def cells(self) -> list[tuple[Row, str]]:
        """Every cell that is to be answered, row by row."""
        columns = self.exhibit.columns
        return [(row, name) for row in self.rows for name in columns if self.asks(row, name)]


def open_benchmarks(work: Work, on_progress: OnProgress, on_note: OnNote) -> None:
    """Read the questions of every column; one without data is left out with its reason."""
    columns = work.exhibit.columns
    if unknown := [name for name in work.plan.benchmarks if name not in columns]:
        raise BenchError(
            f"{work.exhibit.label} has no benchmark {', '.join(unknown)}; it has "
            f"{', '.join(columns)}"
        )

    for name in columns:
        if work.plan.benchmarks and name not in work.plan.benchmarks:
            work.missing[name] = "not asked for"
            continue
        on_progress(Progress(f"reading {name}", 0, 0))
        _open_benchmark(work, name, on_note)

    for row in work.rows:
        for name, reason in work.missing.items():
            work.failures[row.name, name] = row.unknown or reason


def _open_benchmark(work: Work, name: str, on_note: OnNote) -> None:
    try:
        run = BenchmarkRun.open(name, work.plan, work.checkpoint)
    except MissingExtra:
        raise
    except PruneError as error:
        work.missing[name] = str(error)
        on_note(f"{name}: {error}")
        return

    work.runs[name] = run
    for line in run.notes:
        on_note(line)


def rescore(work: Work, name: str) -> None:
    """Score a benchmark again, after answers to it were given."""
    run = work.runs[name].read()
    if run is not None and run.records:
        work.scores[name] = BenchmarkScores(run, work.runs[name].benchmark)


def so_far(work: Work) -> Result:
    """What there is so far."""
    totals = {name: run.total for name, run in work.runs.items()}
    rows: list[RowResult] = []
    for row in work.rows:
        timing = work.timings.get(row.name)
        rows.append(build_row(work.exhibit, row, work.scores, totals, work.failures, timing))

    return Result(
        exhibit=work.exhibit,
        model=work.plan.model,
        smoke=work.plan.smoke,
        limit=work.plan.limit,
        rows=tuple(rows),
        notes=_notes(work),
        setting=_setting(work.checkpoint),
    )


def _notes(work: Work) -> tuple[str, ...]:
    """Sentences about the benchmarks and about what was left out."""
    lines = [work.exhibit.note] if work.exhibit.note else []
    for name, reason in work.missing.items():
        lines.append(f"{name}: {reason}")
    for run in work.runs.values():
        if run.benchmark.note:
            lines.append(f"{run.benchmark.title}: {run.benchmark.note}")
        lines += run.notes
    return tuple(lines)


def _setting(checkpoint: Checkpoint) -> dict[str, Any]:
    """How the model ran."""
    model = checkpoint.model
    return {
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
        "device": model.device.type,
        "versions": versions(),
    }
