"""From a run to its table: relative accuracy per condition, with intervals and comparisons.

`Acc.` is the one of the TransPrune paper: 100 x the mean over tasks of score / unpruned score.
Intervals and differences come from one set of resamples of the images, the same for every
condition; see `statistics`. Only records are read, so a summary is the same whoever makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from transprune.bench.data.manifest import Condition
from transprune.bench.data.records import Record, Run
from transprune.bench.results.scores import Scores, relative_accuracy
from transprune.bench.results.statistics import (
    RESAMPLES,
    Difference,
    Interval,
    difference_of,
    holm,
    interval_of,
)
from transprune.bench.results.task_scores import TaskScore, task_score
from transprune.core.plan import UNPRUNED

TRANSPRUNE = "transprune"


@dataclass(frozen=True)
class Row:
    """One condition.

    Attributes:
        condition: the condition, with its name, method, group, budget and note.
        relative: the paper's `Acc.`, unpruned is 100.
        score: plain mean of the tasks' scores, 0..100.
        tasks: one score per task.
        exact_share, paper_share: measured prefill cost relative to unpruned, mean over prompts.
        kv_share: K/V bytes relative to unpruned, mean over prompts.
        against_unpruned: points of relative Acc.; None for the unpruned row.
        against_transprune: the same against the main TransPrune condition of this budget; None
            without one, and for that condition itself.
        n: answers that counted (questions that the unpruned model answered too).
        expected: questions of the run; with fewer answers it is not finished.
        n_resamples: resamples behind the intervals.
        comparisons: comparisons with TransPrune in the whole table, which Holm's correction counts.
    """

    condition: Condition
    relative: Interval
    score: Interval
    tasks: tuple[TaskScore, ...]

    # cost, relative to the unpruned model
    exact_share: float
    paper_share: float
    kv_share: float

    # comparisons
    against_unpruned: Difference | None
    against_transprune: Difference | None

    # how much is behind the figures
    n: int
    expected: int
    n_resamples: int
    comparisons: int

    @property
    def complete(self) -> bool:
        """Whether every question was answered."""
        return self.n == self.expected


def summarise(run: Run, *, n_resamples: int = RESAMPLES, seed: int = 0) -> list[Row]:
    """One row per condition that has answers, in the order of the run.

    A condition that is not finished is compared on the questions it answered.

    Args:
        run: as `read_run` reads it.
        n_resamples: resamples of pictures behind each interval. Default 10,000.
        seed: of the resampling. Default 0.

    Raises:
        RecordError: no unpruned answers, to which everything is compared.
    """
    scores = Scores(run, n_resamples, seed)
    partners = _partners(run.manifest.conditions)
    expected = sum(task.items for task in run.manifest.tasks)

    rows = []
    for condition in run.manifest.conditions:
        # a condition that was stopped before its first batch has no row yet
        if not scores.shared(condition.name):
            continue

        # neither the unpruned model nor the partner itself is compared with the partner
        partner = partners.get(condition.budget)
        if condition.name in (UNPRUNED, partner) or partner not in scores.answers:
            partner = None

        row = _row(scores, condition, partner)
        rows.append(replace(row, expected=expected, n_resamples=n_resamples))

    return _corrected(rows)


def _row(scores: Scores, condition: Condition, partner: str | None) -> Row:
    """The row of one condition; what concerns the whole table is filled in by the caller."""
    name = condition.name
    keys = scores.shared(name)
    own = scores.by_task(name, keys)
    relative = relative_accuracy(own, scores.by_task(UNPRUNED, keys))

    against_unpruned = None
    if name != UNPRUNED:
        against_unpruned = difference_of(relative - 100, scores.images)

    # in the order of the manifest, not of the records
    tasks = [task_score(scores, task, name, partner) for task in scores.metrics if task in own]
    records = scores.records(name, keys)

    return Row(
        condition=condition,
        relative=interval_of(relative),
        score=interval_of(100 * np.mean(list(own.values()), axis=0)),
        tasks=tuple(tasks),
        exact_share=_mean_of(records, "exact_share"),
        paper_share=_mean_of(records, "paper_share"),
        kv_share=_kv_share(scores, records),
        against_unpruned=against_unpruned,
        against_transprune=_against_partner(scores, name, partner),
        n=len(keys),
        expected=0,
        n_resamples=0,
        comparisons=0,
    )


def _against_partner(scores: Scores, name: str, partner: str | None) -> Difference | None:
    """Relative accuracy minus the partner's, on the questions that both answered."""
    if partner is None:
        return None

    # in an unfinished run the partner may lack some of these answers
    keys = scores.shared(name, partner)
    if not keys:
        return None

    unpruned = scores.by_task(UNPRUNED, keys)
    own = relative_accuracy(scores.by_task(name, keys), unpruned)
    other = relative_accuracy(scores.by_task(partner, keys), unpruned)
    return difference_of(own - other, scores.images)


def _mean_of(records: Iterable[Record], field: str) -> float:
    return fmean(getattr(record, field) for record in records)


def _kv_share(scores: Scores, records: Sequence[Record]) -> float:
    """Mean K/V bytes relative to the unpruned model on the same question."""
    shares = []
    for record in records:
        full = scores.answers[UNPRUNED][record.task, record.item].kv_bytes
        shares.append(record.kv_bytes / full if full else 1.0)
    return fmean(shares)


def _partners(conditions: Iterable[Condition]) -> dict[float | None, str]:
    """The main TransPrune condition of each budget: by that name, else the first of that class."""
    ranked = sorted(conditions, key=lambda c: TRANSPRUNE not in (c.method, *c.also))  # stable

    found: dict[float | None, str] = {}
    for condition in ranked:
        if condition.recipe is not None and condition.recipe.get("method") == TRANSPRUNE:
            found.setdefault(condition.budget, condition.name)
    return found


def _corrected(rows: list[Row]) -> list[Row]:
    """Rows with Holm's correction over all comparisons, for each of the two partners by itself."""
    for field in ("against_unpruned", "against_transprune"):
        # row number -> its comparison, for the rows that have one
        compared: dict[int, Difference] = {}
        for number, row in enumerate(rows):
            difference = getattr(row, field)
            if difference is not None:
                compared[number] = difference
        corrected = holm([difference.p for difference in compared.values()])

        # rows are frozen, so each is replaced by a corrected copy
        for (number, difference), p in zip(compared.items(), corrected, strict=True):
            changes: dict[str, Any] = {field: replace(difference, holm_p=p)}
            rows[number] = replace(rows[number], **changes)

    comparisons = sum(row.against_transprune is not None for row in rows)
    return [replace(row, comparisons=comparisons) for row in rows]
