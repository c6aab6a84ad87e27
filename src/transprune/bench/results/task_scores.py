"""The score of one task under one condition, with its comparisons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from transprune.bench.data.records import Record
from transprune.bench.results.scores import QuestionKey, Scores, by_image
from transprune.bench.results.statistics import Difference, Interval, difference_of, interval_of
from transprune.core.plan import UNPRUNED


@dataclass(frozen=True)
class TaskScore:
    """One task under one condition.

    Attributes:
        task, metric: names.
        score: 0..100 with its interval.
        unpruned: the unpruned model's score, 0..100.
        against_unpruned, against_transprune: points of score; None without a partner.
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


def task_score(scores: Scores, task: str, name: str, partner: str | None) -> TaskScore:
    """The score of one task, compared with the unpruned model and with TransPrune."""
    keys = _of_task(task, scores.shared(name))
    records = scores.records(name, keys)
    metric = scores.metrics[task]
    own = scores.of_task(task, name, keys)
    unpruned = scores.of_task(task, UNPRUNED, keys)

    # both scores are [R + 1], and each of their resamples has the same images
    against_unpruned = None
    if name != UNPRUNED:
        against_unpruned = difference_of(own - unpruned, scores.images)

    # on the questions that both answered, so the scores differ from the two above
    against_transprune = None
    if partner is not None:
        shared = _of_task(task, scores.shared(name, partner))
        if shared:
            difference = scores.of_task(task, name, shared) - scores.of_task(task, partner, shared)
            against_transprune = difference_of(difference, scores.images)

    # details are of the sample only; they are reported without intervals
    groups = by_image(records).values()
    totals = np.sum([metric.tally_image(group) for group in groups], axis=0)  # [k]
    return TaskScore(
        task=task,
        metric=metric.name,
        score=interval_of(own),
        unpruned=float(unpruned[0]),
        against_unpruned=against_unpruned,
        against_transprune=against_transprune,
        n=len(records),
        kinds=_by_kind(records),
        details=metric.details(totals),
    )


def _of_task(task: str, keys: Iterable[QuestionKey]) -> list[QuestionKey]:
    return [key for key in keys if key[0] == task]


def _by_kind(records: Iterable[Record]) -> dict[str, tuple[float, int]]:
    """Kind of question -> mean score of its answers, 0..100, and how many."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        found[record.kind].append(100 * record.score)
    return {kind: (fmean(values), len(values)) for kind, values in sorted(found.items())}
