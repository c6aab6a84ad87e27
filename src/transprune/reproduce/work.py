"""A table while it is answered: its benchmarks, what failed, and the result so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from transprune.bench.data.judge import PROTOCOL
from transprune.bench.data.provenance import versions
from transprune.bench.data.records import Run
from transprune.bench.run.progress import OnProgress, Progress
from transprune.errors import MissingExtra, PruneError
from transprune.models.checkpoint import Checkpoint
from transprune.reproduce.benchmark import BenchmarkRun
from transprune.reproduce.build import build_row
from transprune.reproduce.exhibits import NONE, Exhibit, Row
from transprune.reproduce.plan import HARNESS, ReproducePlan
from transprune.reproduce.ranks import ALONE, Ranks
from transprune.reproduce.result import Result, RowResult
from transprune.reproduce.scores import BenchmarkScores
from transprune.reproduce.timing import Timing
from transprune.reproduce.verdicts import judge_run

OnNote = Callable[[str], None]

NOT_ASKED = "not asked for"


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
    unjudged: dict[tuple[str, str], str] = field(default_factory=dict)  # as failures
    ranks: Ranks = ALONE

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
    for name in work.exhibit.columns:
        if work.plan.benchmarks and name not in work.plan.benchmarks:
            work.missing[name] = NOT_ASKED
            continue
        on_progress(Progress(f"reading {name}", 0, 0))
        _open_benchmark(work, name, on_note)

    for row in work.rows:
        for name, reason in work.missing.items():
            work.failures[row.name, name] = row.unknown or reason


def _open_benchmark(work: Work, name: str, on_note: OnNote) -> None:
    try:
        run = _run_class(work.plan).open(name, work.plan, work.checkpoint, work.ranks)
    except MissingExtra:
        raise
    except PruneError as error:
        work.missing[name] = str(error)
        on_note(f"{name}: {error}")
        return

    work.runs[name] = run
    for line in run.notes:
        on_note(line)
    if run.shortage:
        on_note(f"{name}: {run.shortage}")


def _run_class(plan: ReproducePlan) -> type[BenchmarkRun]:
    """Who asks and scores."""
    if plan.engine != HARNESS:
        return BenchmarkRun
    # imports lmms-eval's tasks
    from transprune.reproduce.harness import HarnessRun

    return HarnessRun


def rescore(work: Work, name: str, on_progress: OnProgress, on_note: OnNote) -> None:
    """Score a benchmark again, after answers to it were given; a judge is asked if there is one."""
    run = work.runs[name].read()
    if run is None or not run.records:
        return

    benchmark = work.runs[name].benchmark
    if benchmark.judged and work.plan.judge is None:
        for row in work.rows:
            work.unjudged[row.name, name] = (
                "exact match; the published figure is a judge's (--judge)"
            )
    elif benchmark.judged:
        run = _judge(work, name, run, on_progress, on_note)

    work.scores[name] = BenchmarkScores(run, benchmark)


def _judge(work: Work, name: str, run: Run, on_progress: OnProgress, on_note: OnNote) -> Run:
    """The run with a judge's verdicts as scores."""
    judge = work.plan.judge
    assert judge is not None
    done = 0

    def count(new: int) -> None:
        nonlocal done
        done += new
        on_progress(Progress(f"{name}, judged by {judge.model}", done, 0))

    judged = judge_run(run, judge, count)
    for row in work.rows:
        # verdicts that come later take the reason away
        work.unjudged.pop((row.name, name), None)
        if reason := judged.reason(row.recipe):
            work.unjudged[row.name, name] = reason
            on_note(f"{row.name}, {name}: {reason}")

    return judged.scored(run, work.runs[name].benchmark.judged)


def so_far(work: Work) -> Result:
    """What there is so far."""
    totals = {name: run.total for name, run in work.runs.items()}
    shortages = {name: run.shortage for name, run in work.runs.items() if run.shortage}
    rows: list[RowResult] = []
    for row in work.rows:
        timing = work.timings.get(row.name)
        short = {(row.name, name): reason for name, reason in shortages.items()}
        # from the weakest reason to the strongest, which wins
        reasons = {**short, **work.unjudged, **work.failures}
        rows.append(build_row(work.exhibit, row, work.scores, totals, reasons, timing))

    return Result(
        exhibit=work.exhibit,
        model=work.plan.model,
        smoke=work.plan.smoke,
        limit=work.plan.limit,
        rows=tuple(rows),
        notes=_notes(work),
        setting=_setting(work),
        shortages=shortages,
    )


def _notes(work: Work) -> tuple[str, ...]:
    """Sentences about the benchmarks and about what was left out."""
    lines = [work.exhibit.note] if work.exhibit.note else []
    for name, reason in work.missing.items():
        # whoever named the benchmarks knows which ones were not
        if reason != NOT_ASKED:
            lines.append(f"{name}: {reason}")

    for run in work.runs.values():
        if run.benchmark.note:
            lines.append(f"{run.benchmark.title}: {run.benchmark.note}")
        lines += run.notes

    return tuple(lines)


def _setting(work: Work) -> dict[str, Any]:
    """How the model ran, and who asked and judged."""
    model = work.checkpoint.model
    setting = {
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
        "device": model.device.type,
        "processes": work.ranks.size,
        "asked by": _engine_words(work.plan),
        "versions": versions(),
    }

    if work.plan.judge is not None:
        judge = work.plan.judge
        setting["judge"] = f"{judge.model} at {judge.url} ({PROTOCOL})"

    return setting


def _engine_words(plan: ReproducePlan) -> str:
    if plan.engine != HARNESS:
        return "transprune"
    return f"lmms-eval {version('lmms-eval')}"
