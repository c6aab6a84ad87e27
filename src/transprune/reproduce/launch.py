"""A table or figure from one plan, with its page and its JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from transprune.bench.data.benchmarks.parquet import need_parquet
from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.core.targets import folder_problem
from transprune.errors import RecordError
from transprune.nano import NANO
from transprune.report.theme import need_extra
from transprune.reproduce.exhibits import Exhibit, read_exhibit
from transprune.reproduce.figures import draw_figure
from transprune.reproduce.page import PAGE_FILE, write_figure, write_numbers, write_result
from transprune.reproduce.plan import ReproducePlan
from transprune.reproduce.ranks import is_first, join
from transprune.reproduce.result import Result
from transprune.reproduce.run import reproduce
from transprune.reproduce.smoke.write import draw_data
from transprune.reproduce.work import OnNote


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes:
        exhibit: the table or figure.
        page: the HTML file; `result.json` is beside it.
        result: of a table; None for a figure.
    """

    exhibit: Exhibit
    page: Path
    result: Result | None


def _no_note(line: str) -> None:
    """Do nothing."""


def launch(
    plan: ReproducePlan, on_progress: OnProgress = no_progress, on_note: OnNote = _no_note
) -> Outcome:
    """Run a table or draw a figure, and write its page.

    The figures of a table are on disk after every row; its page is drawn at the end.

    Args:
        plan: the options.
        on_progress: called after every batch.
        on_note: called with each sentence that the user should read at once.

    Raises:
        BenchError: no such table, figure, row or benchmark, or nothing of it can be asked.
        MissingExtra: pyarrow, matplotlib or jinja2 is not installed.
        RecordError: the folder holds answers with other settings, or cannot be written.
        PruneError: the model cannot be loaded.
    """
    exhibit = read_exhibit(plan.exhibit)
    need_extra()
    if exhibit.kind != "cost":
        need_parquet()
    if problem := folder_problem(plan.out):
        raise RecordError(problem)

    folder = plan.out / (f"{exhibit.id}-smoke" if plan.smoke else exhibit.id)
    # figures and counted costs are work for one process
    if exhibit.kind in ("figure", "cost") and not is_first():
        return Outcome(exhibit, folder / PAGE_FILE, None)

    plan = _complete(plan, exhibit, on_progress)
    if exhibit.kind == "figure":
        pictures = draw_figure(exhibit, plan, on_progress)
        page = write_figure(folder, exhibit, pictures, plan.command, plan.model)
        return Outcome(exhibit, page, None)

    def write(result: Result) -> None:
        write_numbers(folder, result, plan.command)

    result = reproduce(plan, on_progress, on_note, write)
    if not is_first():
        return Outcome(exhibit, folder / PAGE_FILE, None)
    return Outcome(exhibit, write_result(folder, result, plan.command), result)


def _complete(plan: ReproducePlan, exhibit: Exhibit, on_progress: OnProgress) -> ReproducePlan:
    """The plan with a model, and with drawn data for a smoke run."""
    if exhibit.kind == "cost":
        return plan
    if not plan.smoke:
        return replace(plan, model=plan.model or exhibit.model)

    on_progress(Progress("drawing rows", 0, 0))
    data = plan.out / "smoke-data"
    if exhibit.kind == "figure":
        return replace(plan, model=plan.model or NANO, data=draw_data(data))
    with join(plan.loading.device).first_alone():
        draw_data(data)

    return replace(plan, model=plan.model or NANO, data=data)
