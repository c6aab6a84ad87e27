"""A table of the paper from one plan: open the benchmarks, answer row by row, write the result.

What fails stays where it fails: a benchmark without data leaves its column empty, a row that does
not fit the memory or the model its cells, each with the reason, and the rest goes on. The result is
written after every row, so a killed run leaves the rows that were finished.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.errors import BenchError, PruneError, RecordError
from transprune.models.checkpoint import load
from transprune.reproduce.exhibits import Row, choose_rows, read_exhibit
from transprune.reproduce.pilot import expected_seconds
from transprune.reproduce.plan import QUESTIONS, SMOKE_QUESTIONS, ReproducePlan
from transprune.reproduce.result import Result, build_row
from transprune.reproduce.timing import time_answers
from transprune.reproduce.work import OnNote, Work, open_benchmarks, rescore, so_far

OnResult = Callable[[Result], None]


def _no_note(line: str) -> None:
    """Do nothing."""


def _no_result(result: Result) -> None:
    """Do nothing."""


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

    work = Work(plan, exhibit, rows, load(plan.model, plan.loading))
    open_benchmarks(work, on_progress, on_note)
    _announce(work, on_progress, on_note)

    total = sum(work.runs[name].total for _, name in work.cells)
    done = 0
    for row in rows:
        done = _answer_row(work, row, done, total, on_progress, on_note)
        on_result(so_far(work))
    return so_far(work)


def _announce(work: Work, on_progress: OnProgress, on_note: OnNote) -> None:
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
    work: Work, row: Row, done: int, total: int, on_progress: OnProgress, on_note: OnNote
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
        rescore(work, name)

    if work.exhibit.kind == "timing" and row.recipe:
        _time_row(work, row, on_progress, on_note)
    return done


def _answer_cell(
    work: Work, row: Row, name: str, count: Callable[[int], None], on_note: OnNote
) -> None:
    """Answer one cell; what stops it becomes its reason."""
    try:
        work.runs[name].answer(row.recipe, row.method(), count)
    except RecordError:
        raise  # other settings or a full disk: every cell would fail
    except (PruneError, RuntimeError, MemoryError) as error:
        reason = _reason(error, work.plan.batch_size)
        work.failures[row.name, name] = reason
        on_note(f"{row.name}, {name}: {reason}")


def _reason(error: Exception, batch_size: int) -> str:
    """Why a row has no answer; raises what is neither ours nor a lack of memory."""
    if isinstance(error, PruneError):
        return str(error)
    if not is_out_of_memory(error):
        raise error

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return f"out of memory with batches of {batch_size}; run again with a smaller --batch-size"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error)


def _time_row(work: Work, row: Row, on_progress: OnProgress, on_note: OnNote) -> None:
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
    except (PruneError, RuntimeError, MemoryError) as error:
        on_note(f"{row.name}, time and memory: {_reason(error, batch_size=1)}")
