"""A table of the paper from one plan: open the benchmarks, answer row by row, write the result.

What fails stays where it fails: a benchmark without data leaves its column empty, a row that does
not fit the memory or the model its cells, each with the reason, and the rest goes on. The result is
written after every row, so a killed run leaves the rows that were finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.errors import BenchError, FamilyError, PruneError, RecordError, TaskError
from transprune.models.checkpoint import load
from transprune.models.memory import is_out_of_memory, release_memory
from transprune.reproduce.build import build_row
from transprune.reproduce.exhibits import Row, check_plan, choose_rows
from transprune.reproduce.harness_tasks import need_harness
from transprune.reproduce.pilot import expected_seconds
from transprune.reproduce.plan import HARNESS, QUESTIONS, SMOKE_QUESTIONS, ReproducePlan
from transprune.reproduce.ranks import join, own_device
from transprune.reproduce.result import Result
from transprune.reproduce.timing import time_answers
from transprune.reproduce.words import duration
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
    exhibit = check_plan(plan.exhibit, plan.rows, plan.benchmarks)
    rows = choose_rows(exhibit, plan.rows)
    # counted from sizes alone: no model, no data
    if exhibit.kind == "cost":
        counted = tuple(build_row(exhibit, row, {}, {}, {}) for row in rows)
        return Result(exhibit, "", False, None, counted)

    if plan.engine == HARNESS:
        need_harness()

    ranks = join(plan.loading.device)
    checkpoint = load(plan.model, own_device(plan.loading, ranks))
    work = Work(plan, exhibit, rows, checkpoint, ranks=ranks)
    open_benchmarks(work, on_progress, on_note)
    _announce(work, on_progress, on_note)

    total = sum(work.runs[name].total for _, name in work.cells)
    done = 0
    for row in rows:
        done = _answer_row(work, row, done, total, on_progress, on_note)
        # after every row, so that an interrupted run leaves a page of what it has
        if ranks.first:
            on_result(so_far(work))

    return so_far(work)


def _announce(work: Work, on_progress: OnProgress, on_note: OnNote) -> None:
    """Say what is about to run and how long it takes, before it starts."""
    for row in work.rows:
        if row.unknown:
            on_note(f"{row.name}: not run: {row.unknown}")
        if row.inferred:
            on_note(f"{row.name}: {row.inferred}")

    judged = any(run.benchmark.judged for run in work.runs.values())
    if work.plan.judge is not None and not judged:
        on_note("the judge is not asked: no benchmark that was opened has answers for one")
    if not work.runs:
        raise BenchError(
            f"no benchmark of {work.exhibit.label} can be asked: "
            + "; ".join(f"{name}: {reason}" for name, reason in work.missing.items())
        )

    on_progress(Progress("measuring how long it takes", 0, 0))
    seconds, answers = expected_seconds(work.cells, work.runs)
    if answers:
        length = duration(seconds / work.ranks.size)
        where = "on this device" if work.ranks.size == 1 else f"in {work.ranks.size} processes"
        on_note(f"{answers} answers to give, at most about {length} {where}")

    # nobody answers before everybody has counted
    work.ranks.wait()


def _answer_row(
    work: Work, row: Row, done: int, total: int, on_progress: OnProgress, on_note: OnNote
) -> int:
    """Answer the open cells of a row; the number of answers there are now."""
    names = [name for name in work.exhibit.columns if work.asks(row, name)]
    _begin(work, row, names)
    for name in names:
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

        # what was counted in between may miss questions that were left out
        done = finished
        if work.ranks.size == 1:
            rescore(work, name, on_progress, on_note)

    _finish(work, names, on_progress, on_note)

    if work.exhibit.kind == "timing" and row.recipe and work.ranks.first:
        _time_row(work, row, on_progress, on_note)

    return done


def _begin(work: Work, row: Row, names: Sequence[str]) -> None:
    """Before several processes answer a row, the first one writes what identifies its runs."""
    if work.ranks.size == 1:
        return
    if work.ranks.first:
        for name in names:
            # what stops a cell is found again, and said, when it is answered
            with suppress(TaskError, BenchError, FamilyError):
                work.runs[name].begin(row.recipe, row.method())

    work.ranks.wait()


def _finish(work: Work, names: Sequence[str], on_progress: OnProgress, on_note: OnNote) -> None:
    """Put together what several processes answered and what stopped them."""
    if work.ranks.size == 1:
        return
    for failures, notes in work.ranks.gather((work.failures, _notes_of(work))):
        for place, reason in failures.items():
            work.failures.setdefault(place, reason)
        for name, lines in notes.items():
            work.runs[name].add_notes(lines)

    if work.ranks.first:
        for name in names:
            work.runs[name].merge()
            rescore(work, name, on_progress, on_note)

    # the next row reads the merged files
    work.ranks.wait()


def _notes_of(work: Work) -> dict[str, tuple[str, ...]]:
    return {name: run.notes for name, run in work.runs.items()}


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

    release_memory()
    return f"out of memory with batches of {batch_size}; run again with a smaller --batch-size"


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
