"""What a run says: per condition the relative Acc. with its interval, and which differences are real.

`Acc.` is the seed paper's: 100 x the mean over tasks of score / unpruned score. Intervals and differences come from one
set of resamples of the images, the same for every condition; see `statistics`. Nothing but records is read, so a
summary is the same whoever makes it, whenever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from transprune.bench.data.manifest import Condition
from transprune.bench.data.metrics import METRICS, Metric
from transprune.bench.data.records import Record, Run
from transprune.bench.results.statistics import (
    RESAMPLES,
    Difference,
    Floats,
    Interval,
    difference_of,
    draw_weights,
    holm,
    interval_of,
)
from transprune.errors import RecordError

UNPRUNED = "unpruned"
TRANSPRUNE = "transprune"
CHUNK = 1000  # resamples at once


@dataclass(frozen=True)
class TaskScore:
    """One task under one condition.

    Attributes:
        task, metric: names.
        score: 0..100 with its interval.
        unpruned: the unpruned model's score, 0..100.
        against_unpruned, against_transprune: points of score; None where there is no partner.
        n: questions answered.
        kinds: kind of question -> mean score of its answers, 0..100, and how many.
        details: further figures of the metric, 0..1.
    """

    task: str
    metric: str
    score: Interval
    unpruned: float
    against_unpruned: Difference | None
    against_transprune: Difference | None
    n: int
    kinds: Mapping[str, tuple[float, int]]
    details: Mapping[str, float]

    @property
    def relative(self) -> float:
        """100 x score / unpruned score."""
        return 100 * self.score.value / self.unpruned if self.unpruned else float("nan")


@dataclass(frozen=True)
class Row:
    """One condition.

    Attributes:
        condition: what ran; its name, method, group, budget, note.
        relative: the paper's `Acc.`, unpruned is 100.
        score: plain mean of the tasks' scores, 0..100.
        tasks: one score per task.
        exact_share, paper_share: measured prefill cost relative to unpruned, mean over prompts.
        kv_share: K/V bytes relative to unpruned, mean over prompts.
        against_unpruned: points of relative Acc.; None for the unpruned row.
        against_transprune: the same against the main TransPrune condition of this budget; None where there is none, and
            for itself.
        n: answers that counted (questions that unpruned answered too).
        expected: questions of the run; fewer answers mean that it is not finished.
        n_resamples: resamples behind the intervals.
        comparisons: with TransPrune in the whole table, for which Holm's correction was made.
    """

    condition: Condition
    relative: Interval
    score: Interval
    tasks: tuple[TaskScore, ...]
    exact_share: float
    paper_share: float
    kv_share: float
    against_unpruned: Difference | None
    against_transprune: Difference | None
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

    A condition without answers yet is left out; one that is not finished is compared on the questions it answered.

    Raises:
        RecordError: no unpruned answers, to which everything is compared.
    """
    table = _Table(run, n_resamples, seed)
    rows = [
        table.row(condition)
        for condition in run.certificate.conditions
        if table.shared(condition.name, UNPRUNED)
    ]
    return _corrected(rows)


class _Table:
    """The records of a run, sorted for comparing."""

    def __init__(self, run: Run, n_resamples: int, seed: int) -> None:
        self.run, self.resamples = run, n_resamples
        self.metrics = {task.name: METRICS[task.metric] for task in run.certificate.tasks}
        self.expected = sum(task.items for task in run.certificate.tasks)
        self.answers: dict[str, dict[tuple[str, str], Record]] = defaultdict(dict)
        for record in run.records:
            self.answers[record.condition][record.task, record.item] = record
        if not self.answers[UNPRUNED]:
            raise RecordError(
                f"{run.folder} has no unpruned answers yet; continue it with the same command"
            )
        images = sorted({record.image for record in self.answers[UNPRUNED].values()})
        self.units = {image: number for number, image in enumerate(images)}
        self.weights = draw_weights(len(images), n_resamples, seed)
        self.partners = _partners(run.certificate.conditions)
        self._scores: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Floats]] = {}

    def row(self, condition: Condition) -> Row:
        """Everything about one condition."""
        name, partner = condition.name, self.partners.get(condition.budget)
        partner = (
            None if partner == name or name == UNPRUNED or partner not in self.answers else partner
        )
        keys = self.shared(name, UNPRUNED)
        own, full = self._task_scores(name, keys), self._task_scores(UNPRUNED, keys)
        relative = _relative(own, full)
        other: dict[str, Floats] | None = None
        against_transprune = None
        if partner is not None and (shared := self.shared(name, UNPRUNED, partner)):
            other = self._task_scores(partner, shared)
            mine, base = self._task_scores(name, shared), self._task_scores(UNPRUNED, shared)
            against_transprune = difference_of(
                _relative(mine, base) - _relative(other, base), len(self.units)
            )
        records = [self.answers[name][key] for key in keys]
        return Row(
            condition=condition,
            relative=interval_of(relative),
            score=interval_of(100 * np.mean(list(own.values()), axis=0)),
            tasks=tuple(
                self._task(task, name, partner, keys) for task in self.metrics if task in own
            ),
            exact_share=fmean(record.exact_share for record in records),
            paper_share=fmean(record.paper_share for record in records),
            kv_share=fmean(self._kv_share(record) for record in records),
            against_unpruned=None
            if name == UNPRUNED
            else difference_of(relative - 100, len(self.units)),
            against_transprune=against_transprune,
            n=len(keys),
            expected=self.expected,
            n_resamples=self.resamples,
            comparisons=0,
        )

    def shared(self, *names: str) -> list[tuple[str, str]]:
        """Questions that all of these conditions answered, in the order of the unpruned answers."""
        return [
            key
            for key in self.answers[UNPRUNED]
            if all(key in self.answers[name] for name in names)
        ]

    def _task_scores(self, name: str, keys: Sequence[tuple[str, str]]) -> dict[str, Floats]:
        """Score of each task in the sample and in every resample. -> task -> [R + 1]."""
        grouped: dict[str, list[Record]] = defaultdict(list)
        for key in keys:
            grouped[key[0]].append(self.answers[name][key])
        cached = self._scores.setdefault((name, tuple(keys)), {})
        for task, records in grouped.items():
            if task not in cached:
                cached[task] = self._score(self.metrics[task], records)
        return {task: cached[task] for task in grouped}

    def _score(self, metric: Metric, records: Iterable[Record]) -> Floats:
        tallies = [(self.units[record.image], metric.tally(record)) for record in records]
        counts = np.zeros((len(self.units), len(tallies[0][1])))
        for unit, tally in tallies:
            counts[unit] += tally
        parts = np.array_split(self.weights, max(1, len(self.weights) // CHUNK))
        return np.concatenate([metric.score(part @ counts) for part in parts])

    def _task(
        self, task: str, name: str, partner: str | None, keys: list[tuple[str, str]]
    ) -> TaskScore:
        """The score of one task, beside the unpruned model's and TransPrune's."""
        keys = [key for key in keys if key[0] == task]
        records = [self.answers[name][key] for key in keys]
        metric = self.metrics[task]
        own, full = (
            100 * self._score(metric, [self.answers[c][key] for key in keys])
            for c in (name, UNPRUNED)
        )
        shared = [key for key in keys if partner is not None and key in self.answers[partner]]
        versus = None
        if partner is not None and shared:
            mine, other = (
                100 * self._score(metric, [self.answers[c][k] for k in shared])
                for c in (name, partner)
            )
            versus = difference_of(mine - other, len(self.units))
        kinds: dict[str, list[float]] = defaultdict(list)
        for record in records:
            kinds[record.kind].append(100 * record.score)
        return TaskScore(
            task=task,
            metric=metric.name,
            score=interval_of(own),
            unpruned=float(full[0]),
            against_unpruned=None
            if name == UNPRUNED
            else difference_of(own - full, len(self.units)),
            against_transprune=versus,
            n=len(records),
            kinds={kind: (fmean(scores), len(scores)) for kind, scores in sorted(kinds.items())},
            details=metric.details(np.sum([metric.tally(record) for record in records], axis=0)),
        )

    def _kv_share(self, record: Record) -> float:
        full = self.answers[UNPRUNED][record.task, record.item].kv_bytes
        return record.kv_bytes / full if full else 1.0


def _partners(conditions: Iterable[Condition]) -> dict[float | None, str]:
    """The main TransPrune condition of each budget: the one called so, else the first of that method."""
    found: dict[float | None, str] = {}
    ranked = sorted(conditions, key=lambda c: TRANSPRUNE not in (c.method, *c.also))  # stable
    for condition in ranked:
        if condition.recipe is not None and condition.recipe.get("method") == TRANSPRUNE:
            found.setdefault(condition.budget, condition.name)
    return found


def _relative(own: Mapping[str, Floats], full: Mapping[str, Floats]) -> Floats:
    """100 x mean over tasks of score / unpruned score; a task the unpruned model fails entirely says nothing."""
    with np.errstate(all="ignore"):
        shares = np.stack([100 * own[task] / full[task] for task in own])
    there = np.isfinite(shares)
    return np.where(there, shares, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


def _corrected(rows: list[Row]) -> list[Row]:
    """Holm's correction over all rows, for comparisons with the unpruned model and with TransPrune each."""
    for field in ("against_unpruned", "against_transprune"):
        compared = [
            (number, getattr(row, field)) for number, row in enumerate(rows) if getattr(row, field)
        ]
        corrected = holm([difference.p for _, difference in compared])
        for (number, difference), p in zip(compared, corrected, strict=True):
            rows[number] = replace(rows[number], **{field: replace(difference, holm_p=p)})
    comparisons = sum(row.against_transprune is not None for row in rows)
    return [replace(row, comparisons=comparisons) for row in rows]
