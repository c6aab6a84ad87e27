"""Metrics, as their fields define them.

An answer becomes a short vector of counts (`tally`), a task's score a function of summed vectors (`score`). That makes
every metric resample at once: sums under other weights are one matrix product.

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

from transprune.bench.results.statistics import Floats

SPLITS = ("random", "popular", "adversarial")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Answered(Protocol):
    """What a metric needs of a record."""

    @property
    def given(self) -> str:
        """What the model said."""

    @property
    def answers(self) -> tuple[str, ...]:
        """The right answers."""

    @property
    def kind(self) -> str:
        """The question's kind."""

    @property
    def item(self) -> str:
        """The question's id."""

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

    def tally(self, record: Answered) -> list[float]:
        """Counts of one answer, to be added up over a task."""
        return [record.score, 1.0]

    def score(self, totals: Floats) -> Floats:
        """The task's score from summed counts [..., k] -> [...]; NaN where nothing was counted."""
        return _ratio(totals[..., 0], totals[..., 1])

    def details(self, totals: Floats) -> dict[str, float]:
        """Further figures the field reports."""
        return {}


@dataclass(frozen=True)
class ExactMatch(Metric):
    """Right if the normalised answer equals one of the normalised right ones."""

    name: ClassVar[str] = "exact_match"
    title: ClassVar[str] = "exact match"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        return float(normalise(given) in {normalise(answer) for answer in answers})


@dataclass(frozen=True)
class Vqa(Metric):
    """VQA accuracy against ten people: each leaves one out, and three who agree with the answer make it right.

    Antol et al., VQA, ICCV 2015: mean over the ten subsets of nine of min(matches / 3, 1).
    """

    name: ClassVar[str] = "vqa"
    title: ClassVar[str] = "VQA accuracy"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """In tenths of thirds, 0..1."""
        matches = [normalise(given) == normalise(answer) for answer in answers]
        return float(np.mean([min((sum(matches) - own) / 3, 1.0) for own in matches]))


@dataclass(frozen=True)
class Pope(Metric):
    """Yes or no about objects: mean F1 of "yes" over the random, popular and adversarial splits.

    Li et al., POPE, EMNLP 2023. Accuracy, precision, recall and the share of "yes" are in the details. A negative
    belongs to the split of its kind; positives are dealt out to the three in turn, so each split is about balanced.
    An answer that contains "no" or "not" counts as no, everything else as yes, as in POPE's own evaluation.
    """

    name: ClassVar[str] = "pope"
    title: ClassVar[str] = "POPE F1, mean of three splits"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 if the yes or no is right."""
        return float(_says_yes(given) == _says_yes(answers[0]))

    def tally(self, record: Answered) -> list[float]:
        """[split x (true positive, false positive, false negative, true negative)], one of them 1."""
        counts = np.zeros((len(SPLITS), 4))
        counts[_split(record), _cell(_says_yes(record.given), _says_yes(record.answers[0]))] = 1
        return list(counts.ravel())

    def score(self, totals: Floats) -> Floats:
        """Mean F1 of the splits that have questions."""
        tp, fp, fn, _ = _cells(totals)
        with np.errstate(all="ignore"):
            f1 = np.where(_cells(totals).sum(axis=0) > 0, _ratio(2 * tp, 2 * tp + fp + fn), np.nan)
            return _mean_there(f1)

    def details(self, totals: Floats) -> dict[str, float]:
        """Accuracy, F1, precision, recall and yes-ratio of each split and on average."""
        found: dict[str, float] = {}
        cells = _cells(totals)
        for number, split in enumerate(SPLITS):
            found |= {f"{split} {name}": value for name, value in _pope(cells[:, number]).items()}
        names = ("accuracy", "F1", "precision", "recall", "yes ratio")
        for name in names:
            values = np.array([found[f"{split} {name}"] for split in SPLITS])
            found[name] = float(_mean_there(values))
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
    """Lower case, without punctuation, articles and spare blanks, as SQuAD's and VQA's evaluations compare answers."""
    bare = text.lower().translate(_PUNCTUATION)
    # an answer may be the letter A, which is no article
    return " ".join(_ARTICLES.sub(" ", bare).split() or bare.split())


def option_letter(text: str) -> str:
    """`"B"` from `"B"`, `"(b)"`, `"B. red"` or `"The answer is B"`; empty where no letter stands alone."""
    alone = re.match(r"\s*\(?([A-Za-z])\)?\s*(?:[.:)]|$)", text)
    found = alone or re.search(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z])", text)
    return found.group(1).upper() if found else ""


def _says_yes(text: str) -> bool:
    return not {"no", "not"} & set(normalise(text).split())


def _split(record: Answered) -> int:
    if record.kind in SPLITS:
        return SPLITS.index(record.kind)
    return sum(record.item.encode()) % len(SPLITS)


def _cell(said: bool, true: bool) -> int:
    return {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}[said, true]


def _cells(totals: Floats) -> Floats:
    """[..., 12] -> [4, ..., 3]."""
    return np.moveaxis(totals.reshape(*totals.shape[:-1], len(SPLITS), 4), -1, 0)


def _pope(cells: Floats) -> dict[str, Any]:
    tp, fp, fn, tn = (float(cell) for cell in cells)
    return {
        "accuracy": float(_ratio(tp + tn, tp + fp + fn + tn)),
        "F1": float(_ratio(2 * tp, 2 * tp + fp + fn)),
        "precision": float(_ratio(tp, tp + fp)),
        "recall": float(_ratio(tp, tp + fn)),
        "yes ratio": float(_ratio(tp + fp, tp + fp + fn + tn)),
    }


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    """part / whole, NaN where there is nothing to divide by."""
    with np.errstate(all="ignore"):
        return np.true_divide(part, whole)


def _mean_there(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where all are."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1))
