"""POPE: yes or no about objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transprune.bench.data.metrics.base import Answered, Floats, Metric, nan_mean, ratio
from transprune.bench.data.metrics.text import normalise

SPLITS = ("random", "popular", "adversarial")  # of POPE's negatives
_CELLS = ("true positive", "false positive", "false negative", "true negative")


@dataclass(frozen=True)
class Pope(Metric):
    """Yes or no about objects: mean F1 of "yes" over the random, popular and adversarial splits.

    Li et al., POPE, EMNLP 2023. Accuracy, precision, recall and the share of "yes" are in the
    details. A negative belongs to the split of its kind; positives are distributed over the three
    splits, so each split is about balanced. An answer that contains "no" or "not" counts as no,
    everything else as yes, as in POPE's own evaluation.
    """

    name: ClassVar[str] = "pope"
    title: ClassVar[str] = "POPE F1, mean of three splits"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 if the yes or no is right."""
        return float(_means_yes(given) == _means_yes(answers[0]))

    def tally(self, record: Answered) -> list[float]:
        """Counts [3 splits x 4 cells of the confusion matrix], one of them 1."""
        # counts, not the score: F1 of a sum is not a mean of F1
        cell = _cell(_means_yes(record.given), _means_yes(record.answers[0]))
        counts = np.zeros((len(SPLITS), len(_CELLS)))
        counts[_split(record), cell] = 1
        return list(counts.ravel())

    def score(self, totals: Floats) -> Floats:
        """Mean F1 of the splits that have questions."""
        cells = _cells(totals)  # [..., 12] -> [4, ..., 3]
        tp, fp, fn, _ = cells
        has_questions = cells.sum(axis=0) > 0

        # a resample may draw no question of a split at all
        f1 = ratio(2 * tp, 2 * tp + fp + fn)
        return nan_mean(np.where(has_questions, f1, np.nan))

    def details(self, totals: Floats) -> dict[str, float]:
        """Accuracy, F1, precision, recall and yes-ratio of each split and on average."""
        cells = _cells(totals)
        found: dict[str, float] = {}

        for number, split in enumerate(SPLITS):
            for name, value in _pope_figures(cells[:, number]).items():
                found[f"{split} {name}"] = value

        for name in ("accuracy", "F1", "precision", "recall", "yes ratio"):
            values = [found[f"{split} {name}"] for split in SPLITS]
            found[name] = float(nan_mean(np.array(values)))
        return found


def _means_yes(text: str) -> bool:
    words = normalise(text).split()
    return "no" not in words and "not" not in words


def _split(record: Answered) -> int:
    """Index of the split that a question belongs to."""
    if record.kind in SPLITS:
        return SPLITS.index(record.kind)

    # positives have no kind; their id decides, so that every run agrees
    return sum(record.item.encode()) % len(SPLITS)


def _cell(given_yes: bool, right_yes: bool) -> int:
    """Index into `_CELLS`."""
    outcome = "positive" if given_yes else "negative"
    correct = "true" if given_yes == right_yes else "false"
    return _CELLS.index(f"{correct} {outcome}")


def _cells(totals: Floats) -> Floats:
    """Counts by cell of the confusion matrix. [..., 12] -> [4, ..., 3]."""
    by_split = totals.reshape(*totals.shape[:-1], len(SPLITS), len(_CELLS))
    return np.moveaxis(by_split, -1, 0)


def _pope_figures(cells: Floats) -> dict[str, float]:
    """The five figures of one split from its cells [4]."""
    tp, fp, fn, tn = cells
    total = tp + fp + fn + tn

    return {
        "accuracy": float(ratio(tp + tn, total)),
        "F1": float(ratio(2 * tp, 2 * tp + fp + fn)),
        "precision": float(ratio(tp, tp + fp)),
        "recall": float(ratio(tp, tp + fn)),
        "yes ratio": float(ratio(tp + fp, total)),
    }
