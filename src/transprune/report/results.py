"""A benchmark run in the shape that figures and tables need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import Manifest
from transprune.bench.data.records import Record, Run, read_run
from transprune.bench.results.summary import TRANSPRUNE, Row, summarise
from transprune.bench.run.trials import ABLATION
from transprune.core.plan import UNPRUNED
from transprune.errors import RecordError
from transprune.report.costs import CostRow, read_costs
from transprune.report.progress import Progress, silent

Question = tuple[str, str]  # task, item


@dataclass(frozen=True)
class Series:
    """One method over its budgets, cheapest last."""

    method: str
    group: str
    rows: tuple[Row, ...]

    @property
    def control(self) -> bool:
        """Whether it is a control or an oracle."""
        return self.group == "controls"


@dataclass(frozen=True)
class Results:
    """A run with its summary.

    Attributes:
        run: manifest and records, as read from the folder.
        rows: one per condition that has answers.
        costs: measured costs, one row per condition, or None where they were not measured.
        cost_setup: how they were measured (prompts, rounds, threads).
    """

    run: Run
    rows: tuple[Row, ...]
    costs: tuple[CostRow, ...] | None = None
    cost_setup: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """Settings, conditions and tasks of the run."""
        return self.run.manifest

    @property
    def questions(self) -> int:
        """Number of questions of the run."""
        return sum(task.items for task in self.manifest.tasks)

    @property
    def unpruned(self) -> Row:
        """The row of the unpruned model."""
        # the summary refuses a run without unpruned answers, so there is one
        return next(row for row in self.rows if row.condition.name == UNPRUNED)

    @property
    def compared(self) -> tuple[Row, ...]:
        """Rows of methods and controls, without the unpruned model and the ablations."""
        return tuple(row for row in self.rows if row.condition.group in ("methods", "controls"))

    @property
    def series(self) -> tuple[Series, ...]:
        """Methods with their budgets: TransPrune, then the other methods, then controls.

        Methods that choose the same tokens at a budget were run once; each of them gets that row.
        """
        # a name without any row of its own would only repeat another line, so it gets none
        found: dict[str, list[Row]] = {row.condition.method: [] for row in self.compared}
        for row in self.compared:
            for method in (row.condition.method, *row.condition.also):
                if method in found:
                    found[method].append(row)

        series = []
        for method, rows in found.items():
            ordered = sorted(rows, key=lambda row: -row.exact_share)
            series.append(Series(method, rows[0].condition.group, tuple(ordered)))

        # stable: otherwise in the order of the run
        return tuple(sorted(series, key=lambda one: (one.control, one.method != TRANSPRUNE)))

    @property
    def ablations(self) -> dict[str, tuple[Row, ...]]:
        """Ablation of the TransPrune paper -> rows of its variants."""
        found: dict[str, tuple[Row, ...]] = {}
        for row in self.rows:
            group = row.condition.group
            if group.startswith(ABLATION):
                name = group.removeprefix(ABLATION)
                found[name] = (*found.get(name, ()), row)
        return found

    @property
    def variants(self) -> tuple[Row, ...]:
        """Rows of all ablations."""
        return tuple(row for rows in self.ablations.values() for row in rows)

    @property
    def budgets(self) -> tuple[tuple[float | None, tuple[Row, ...]], ...]:
        """Budget -> rows of methods and controls, best first.

        The most expensive budget comes first. None stands for the methods' own budgets and is last.
        """
        found: dict[float | None, list[Row]] = {}
        for row in self.compared:
            found.setdefault(row.condition.budget, []).append(row)

        budgets: list[tuple[float | None, tuple[Row, ...]]] = []
        for budget in sorted(found, key=_budget_order, reverse=True):
            ranked = sorted(found[budget], key=lambda row: -row.relative.value)
            budgets.append((budget, tuple(ranked)))
        return tuple(budgets)

    def answers(self, condition: str) -> dict[Question, Record]:
        """Records of a condition by task and item."""
        found = {}
        for record in self.run.records:
            if record.condition == condition:
                found[record.task, record.item] = record
        return found


def _budget_order(budget: float | None) -> float:
    return -1.0 if budget is None else budget


def competes(row: Row) -> bool:
    """Whether it can be the best of its budget: a method (not a control) that reached it."""
    return row.condition.group == "methods" and row.condition.reached


def read_results(
    folder: Path,
    *,
    n_resamples: int | None = None,
    progress: Progress = silent,
) -> Results:
    """Read and summarise the run in `folder`.

    Args:
        folder: of the run.
        n_resamples: bootstrap resamples; None for the default of the summary.
        progress: called with the name of each step.

    Raises:
        RecordError: no run there, a damaged file (named, with its line), a newer schema, or no
            unpruned answers yet.
    """
    if not folder.is_dir():
        raise RecordError(
            f"{folder} is not a folder; give the folder that `transprune bench --out` wrote, with "
            "run.json in it"
        )

    progress("reading the run")
    try:
        run = read_run(folder)
    # a folder by the name of a file, or no permission
    except OSError as error:
        raise RecordError(f"{error.filename or folder} cannot be read: {error.strerror}") from error

    progress(f"computing intervals from {len(run.records):,} answers")
    rows = summarise(run) if n_resamples is None else summarise(run, n_resamples=n_resamples)
    costs, setup = read_costs(folder)
    return Results(run, tuple(rows), costs, setup)
