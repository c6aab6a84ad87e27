"""The metrics of the tasks, as their benchmarks define them.

An answer becomes a short vector of counts (`tally`), and the score of a task is a function of
summed vectors (`score`). So a metric is computed for all resamples at once: sums under other
weights are one matrix product.

Every score is in 0..1, larger is better.
"""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPLITS = ("random", "popular", "adversarial")  # of POPE's negatives
_CELLS = ("true positive", "false positive", "false negative", "true negative")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Answered(Protocol):
    """The fields of a record that a metric uses."""

    @property
    def given(self) -> str:
        """The model's answer."""

    @property
    def answers(self) -> tuple[str, ...]:
        """The right answers."""

    @property
    def kind(self) -> str:
        """The kind of the question."""

    @property
    def item(self) -> str:
        """The id of the question."""

    @property
    def score(self) -> float:
        """0..1."""


class Metric(ABC):
    """How answers of a task are scored. Stateless."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def grade(self, given: str, answers: Sequence[str]) -> float:
        """The score of one answer, 0..1."""

    # the usual case is a mean; a metric such as F1 overrides both methods
    def tally(self, record: Answered) -> list[float]:
        """Counts of one answer [k], to be added up over a task."""
        return [record.score, 1.0]

    def score(self, totals: Floats) -> Floats:
        """The task's score from summed counts [..., k] -> [...]; NaN where nothing was counted."""
        return _ratio(totals[..., 0], totals[..., 1])

    def details(self, totals: Floats) -> dict[str, float]:
        """Further figures that papers report with this metric."""
        return {}


@dataclass(frozen=True)
class ExactMatch(Metric):
    """Right if the normalised answer equals one of the normalised right answers."""

    name: ClassVar[str] = "exact_match"
    title: ClassVar[str] = "exact match"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        right = {normalise(answer) for answer in answers}
        return float(normalise(given) in right)


@dataclass(frozen=True)
class Vqa(Metric):
    """VQA accuracy against ten people: right if three of any nine of them gave the same answer.

    Antol et al., VQA, ICCV 2015: mean over the ten subsets of nine of min(matches / 3, 1).
    """

    name: ClassVar[str] = "vqa"
    title: ClassVar[str] = "VQA accuracy"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """The mean over the subsets, 0..1."""
        answer = normalise(given)
        matches = [answer == normalise(other) for other in answers]

        # each subset leaves one person out, and that person's match with it
        total = sum(matches)
        subsets = [min((total - own) / 3, 1.0) for own in matches]
        return float(np.mean(subsets))


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
        f1 = _ratio(2 * tp, 2 * tp + fp + fn)
        return _nan_mean(np.where(has_questions, f1, np.nan))

    def details(self, totals: Floats) -> dict[str, float]:
        """Accuracy, F1, precision, recall and yes-ratio of each split and on average."""
        cells = _cells(totals)
        found: dict[str, float] = {}

        for number, split in enumerate(SPLITS):
            for name, value in _pope_figures(cells[:, number]).items():
                found[f"{split} {name}"] = value

        for name in ("accuracy", "F1", "precision", "recall", "yes ratio"):
            values = [found[f"{split} {name}"] for split in SPLITS]
            found[name] = float(_nan_mean(np.array(values)))
        return found


@dataclass(frozen=True)
class MultipleChoice(Metric):
    """Right if the first option letter that stands alone in the answer is the right one."""

    name: ClassVar[str] = "mc"
    title: ClassVar[str] = "multiple-choice accuracy"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        return float(option_letter(given) == answers[0].strip().upper())


METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (ExactMatch(), Vqa(), Pope(), MultipleChoice())
}


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and repeated spaces, as SQuAD and VQA compare."""
    bare = text.lower().translate(_PUNCTUATION)
    words = _ARTICLES.sub(" ", bare).split()

    # an answer may be the option letter "A", which is not an article
    if not words:
        words = bare.split()
    return " ".join(words)


def option_letter(text: str) -> str:
    """`"B"` from `"B"`, `"(b)"`, `"B. red"` or `"The answer is B"`; empty without such a letter."""
    found = re.match(r"\s*\(?([A-Za-z])\)?\s*(?:[.:)]|$)", text)

    # inside a sentence only upper case counts: a lower-case "a" is usually an article
    if found is None:
        found = re.search(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z])", text)

    return found.group(1).upper() if found else ""


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
        "accuracy": float(_ratio(tp + tn, total)),
        "F1": float(_ratio(2 * tp, 2 * tp + fp + fn)),
        "precision": float(_ratio(tp, tp + fp)),
        "recall": float(_ratio(tp, tp + fn)),
        "yes ratio": float(_ratio(tp + fp, total)),
    }


def _ratio(part: Any, whole: Any) -> Floats:
    """part / whole; NaN for 0 / 0."""
    with np.errstate(all="ignore"):
        return np.true_divide(part, whole)


def _nan_mean(values: Floats) -> Floats:
    """Mean over the last axis without NaN; NaN where all values are. [..., n] -> [...].

    `np.nanmean` warns in that case, and warnings are errors in our tests.
    """
    valid = ~np.isnan(values)
    total = np.where(valid, values, 0).sum(axis=-1)
    return _ratio(total, valid.sum(axis=-1))
