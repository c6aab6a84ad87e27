"""A table of the paper from one plan: open the benchmarks, answer row by row, write the result.

What fails stays where it fails: a benchmark without data leaves its column empty, a row that does
not fit the memory or the model its cells, each with the reason, and the rest goes on. The result is
written after every row, so a killed run leaves the rows that were finished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from transprune.bench.data.provenance import versions
from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.errors import BenchError, MissingExtra, PruneError, RecordError
from transprune.models.checkpoint import Checkpoint, load
from transprune.reproduce.benchmark import BenchmarkRun
from transprune.reproduce.exhibits import NONE, Exhibit, Row, choose_rows, read_exhibit
from transprune.reproduce.pilot import expected_seconds
from transprune.reproduce.plan import QUESTIONS, SMOKE_QUESTIONS, ReproducePlan
from transprune.reproduce.result import Result, RowResult, build_row
from transprune.reproduce.scores import BenchmarkScores
from transprune.reproduce.timing import Timing, time_answers

OnNote = Callable[[str], None]
OnResult = Callable[[Result], None]


def _no_note(line: str) -> None:
    """Do nothing."""


def _no_result(result: Result) -> None:
    """Do nothing."""


@dataclass
class _Work:
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


def reproduce(
    plan: ReproducePlan,
    on_progress: OnProgress = no_progress,
    on_note: OnNote = _no_note,
    on_result: OnResult = _no_result,
) -> Result:
    """Answer what a table needs and has no answer yet, and compare with what is published.

    Args:
        plan: the options.
        on_progress: called after every batch.
        on_note: called with each sentence that the user should read at once.
        on_result: called with the result after every row.

    Raises:
        BenchError: no such table, row or benchmark, or nothing of it can be asked.
        MissingExtra: pyarrow is not installed.
        RecordError: the folder holds answers with other settings, or cannot be written.
        PruneError: the model cannot be loaded.
    """
    exhibit = read_exhibit(plan.exhibit)
    rows = choose_rows(exhibit, plan.rows)
    if exhibit.kind == "cost":
        counted = tuple(build_row(exhibit, row, {}, {}, {}) for row in rows)
        return Result(exhibit, "", False, None, counted)

    work = _Work(plan, exhibit, rows, load(plan.model, plan.loading))
    _open_benchmarks(work, on_progress, on_note)
    _announce(work, on_progress, on_note)

    total = sum(work.runs[name].total for _, name in work.cells)
    done = 0
    for row in rows:
        done = _answer_row(work, row, done, total, on_progress, on_note)
        on_result(_result(work))
    return _result(work)


def _open_benchmarks(work: _Work, on_progress: OnProgress, on_note: OnNote) -> None:
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


def _open_benchmark(work: _Work, name: str, on_note: OnNote) -> None:
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


def _announce(work: _Work, on_progress: OnProgress, on_note: OnNote) -> None:
    """Say what is about to run and how long it takes, before it starts."""
    for row in work.rows:
        if row.unknown:
            on_note(f"{row.name}: not run: {row.unknown}")
        if row.inferred:
            on_note(f"{row.name}: {row.inferred}")
    if not work.runs:
        raise BenchError(
            f"no benchmark of {work.exhibit.label} can be asked: "
            + "; ".join(f"{name}: {reason}" for name, reason in work.missing.items())
        )

    on_progress(Progress("measuring how long it takes", 0, 0))
    seconds, answers = expected_seconds(work.cells, work.runs)
    if answers:
        minutes = seconds / 60
        length = f"{minutes / 60:.1f} hours" if minutes > 90 else f"{minutes:.1f} minutes"
        on_note(f"{answers} answers to give, at most about {length} on this device")


def _answer_row(
    work: _Work, row: Row, done: int, total: int, on_progress: OnProgress, on_note: OnNote
) -> int:
    """Answer the open cells of a row; the number of answers there are now."""
    for name in work.exhibit.columns:
        if not work.asks(row, name):
            continue
        run = work.runs[name]
        title = f"{row.name}, {run.benchmark.title}"
        left = run.count_open(row.recipe)
        done += run.total - left
        finished = done + left
        on_progress(Progress(title, done, total))

        def count(new: int, title: str = title) -> None:
            nonlocal done
            done += new
            on_progress(Progress(title, done, total))

        known = len(run.notes)
        _answer_cell(work, row, name, count, on_note)
        for line in run.notes[known:]:
            on_note(line)
        done = finished
        _rescore(work, name)

    if work.exhibit.kind == "timing" and row.recipe:
        _time_row(work, row, on_progress, on_note)
    return done


def _answer_cell(
    work: _Work, row: Row, name: str, count: Callable[[int], None], on_note: OnNote
) -> None:
    """Answer one cell; what stops it becomes its reason."""
    try:
        work.runs[name].answer(row.recipe, row.method(), count)
    except RecordError:
        raise  # other settings or a full disk: every cell would fail
    except PruneError as error:
        _fail(work, row, name, str(error), on_note)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = work.plan.batch_size
        reason = f"out of memory with batches of {size}; run again with a smaller --batch-size"
        _fail(work, row, name, reason, on_note)


def _fail(work: _Work, row: Row, name: str, reason: str, on_note: OnNote) -> None:
    work.failures[row.name, name] = reason
    on_note(f"{row.name}, {name}: {reason}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error)


def _time_row(work: _Work, row: Row, on_progress: OnProgress, on_note: OnNote) -> None:
    """Measure time and memory of a row on the first questions."""
    name = next(iter(work.runs), "")
    count = SMOKE_QUESTIONS if work.plan.smoke else QUESTIONS
    items = work.runs[name].sample(count) if name else ()
    if not items:
        return

    on_progress(Progress(f"{row.name}, time and memory", 0, 0))
    longest = work.runs[name].benchmark.new_tokens
    try:
        work.timings[row.name] = time_answers(work.checkpoint, items, row.method(), longest)
    except PruneError as error:
        on_note(f"{row.name}, time and memory: {error}")


def _rescore(work: _Work, name: str) -> None:
    run = work.runs[name].read()
    if run is not None and run.records:
        work.scores[name] = BenchmarkScores(run, work.runs[name].benchmark)


def _result(work: _Work) -> Result:
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


def _notes(work: _Work) -> tuple[str, ...]:
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
