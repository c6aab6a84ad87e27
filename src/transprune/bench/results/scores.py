"""Scores of conditions on the same questions, in the sample and in every resample of the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from transprune.bench.data.metrics import METRICS, Floats, Metric
from transprune.bench.data.records import Record, Run
from transprune.bench.results.statistics import draw_weights
from transprune.core.plan import UNPRUNED
from transprune.errors import RecordError

CHUNK = 1000  # resamples at once, which bounds the memory of one product
QuestionKey = tuple[str, str]  # task, item


class Scores:
    """The answers of a run by condition, and their scores under R resamples of U images.

    Attributes:
        metrics: task -> its metric.
        answers: condition -> question -> record.
        images: U, the number of images.

    Raises:
        RecordError: no unpruned answers, to which everything is compared.
    """

    def __init__(self, run: Run, n_resamples: int, seed: int) -> None:
        self.metrics = {task.name: METRICS[task.metric] for task in run.manifest.tasks}
        self.answers: dict[str, dict[QuestionKey, Record]] = defaultdict(dict)
        for record in run.records:
            self.answers[record.condition][record.task, record.item] = record

        unpruned = self.answers[UNPRUNED]
        if not unpruned:
            raise RecordError(
                f"{run.folder} has no unpruned answers yet; continue it with the same command"
            )

        # one set of resamples for every condition: this is what pairs them
        names = sorted({record.image for record in unpruned.values()})
        self.images = len(names)
        self._unit = dict(zip(names, range(len(names)), strict=True))  # image -> its column
        self._weights = draw_weights(self.images, n_resamples, seed)  # [R + 1, U]

        # the unpruned scores are needed for every row
        self._known: dict[tuple[str, tuple[QuestionKey, ...]], dict[str, Floats]] = {}

    def shared(self, *conditions: str) -> list[QuestionKey]:
        """Questions that the unpruned model and all of these conditions answered."""
        found = []
        for key in self.answers[UNPRUNED]:
            if all(key in self.answers[name] for name in conditions):
                found.append(key)
        return found

    def records(self, condition: str, keys: Sequence[QuestionKey]) -> list[Record]:
        """The answers of a condition to these questions."""
        return [self.answers[condition][key] for key in keys]

    def by_task(self, condition: str, keys: Sequence[QuestionKey]) -> dict[str, Floats]:
        """Score of each task, 0..1, from the answers to `keys`. -> task -> [R + 1]."""
        signature = (condition, tuple(keys))
        if signature in self._known:
            return self._known[signature]

        grouped: dict[str, list[Record]] = defaultdict(list)
        for record in self.records(condition, keys):
            grouped[record.task].append(record)

        found = {}
        for task, records in grouped.items():
            found[task] = self._score(self.metrics[task], records)
        self._known[signature] = found
        return found

    def of_task(self, task: str, condition: str, keys: Sequence[QuestionKey]) -> Floats:
        """Score of one task, 0..100, from the answers to `keys`, all of that task. -> [R + 1]."""
        return 100 * self._score(self.metrics[task], self.records(condition, keys))

    def _score(self, metric: Metric, records: Sequence[Record]) -> Floats:
        return score_resamples(metric, records, self._unit, self._weights)


def score_resamples(
    metric: Metric, records: Sequence[Record], unit: Mapping[str, int], weights: Floats
) -> Floats:
    """The score of one task, 0..1, in the sample and in every resample of its images. -> [R + 1].

    Args:
        metric: of the task.
        records: its answers, at least one.
        unit: image -> its column in `weights`.
        weights: how often each image is drawn, [R + 1, U]; the first row is the sample.
    """
    # summed by image first: a resample takes an image with all its answers
    width = len(metric.tally(records[0]))
    counts = np.zeros((weights.shape[1], width))  # [U, k]
    for image, group in by_image(records).items():
        counts[unit[image]] = metric.tally_image(group)

    # [R + 1, U] @ [U, k] -> [R + 1, k] -> [R + 1], in parts
    parts = max(1, len(weights) // CHUNK)
    scores = [metric.score(part @ counts) for part in np.array_split(weights, parts)]
    return np.concatenate(scores)


def by_image(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Image -> its records."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record.image].append(record)
    return found


def relative_accuracy(own: Mapping[str, Floats], unpruned: Mapping[str, Floats]) -> Floats:
    """100 x the mean over tasks of score / unpruned score. -> [R + 1].

    A task at which the unpruned model scores 0 has no such ratio and is left out of the mean.
    """
    with np.errstate(all="ignore"):
        ratios = np.stack([100 * own[task] / unpruned[task] for task in own])  # [tasks, R + 1]

    valid = np.isfinite(ratios)
    total = np.where(valid, ratios, 0).sum(axis=0)
    return total / np.maximum(valid.sum(axis=0), 1)
