"""Metrics that score several answers about one image together: MME's pairs, MMBench's rotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transprune.bench.data.metrics.base import Answered, Floats, Metric, nan_mean, ratio
from transprune.bench.data.metrics.options import find_option

# the ten perception categories, whose sum is printed as MME-P
PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
ROTATION = 1_000_000  # MMBench adds it to the index of a question for each order of its options


@dataclass(frozen=True)
class Mme(Metric):
    """MME perception: accuracy and accuracy of pairs, summed over ten categories.

    Fu et al., MME, https://arxiv.org/abs/2306.13394. Every image has two questions, one with the
    answer yes and one with no. A category's score is the share of right answers plus the share of
    images with both right, in percent, at most 200; the published figure is the sum over the ten
    categories, at most 2000. Here it is divided by 2000. A category without a question (in a part
    of the benchmark) is left out of the mean, and `details` has the others one by one.
    """

    name: ClassVar[str] = "mme"
    title: ClassVar[str] = "MME perception score / 2000"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 if the yes or no among the first four characters of the answer is right."""
        return float(_yes_or_no(given) == answers[0].strip().lower())

    def tally(self, record: Answered) -> list[float]:
        """Counts of one answer; a pair needs two, so it is counted by `tally_image`."""
        return self.tally_image([record])

    def tally_image(self, records: Sequence[Answered]) -> list[float]:
        """Counts [10 categories x (right, questions, right pairs, pairs)]."""
        pairs: dict[str, list[float]] = defaultdict(list)
        for record in records:
            pairs[record.kind].append(record.score)

        counts = np.zeros((len(PERCEPTION), 4))
        for kind, scores in pairs.items():
            row = counts[PERCEPTION.index(kind)]
            row += (sum(scores), len(scores), 0, 0)
            # a pair of which one answer is missing, as in an unfinished run, is no pair yet
            if len(scores) == 2:
                row += (0, 0, min(scores), 1)
        return list(counts.ravel())

    def score(self, totals: Floats) -> Floats:
        """Mean over categories of (accuracy + accuracy of pairs) / 2. [..., 40] -> [...]."""
        return nan_mean(_categories(totals))

    def details(self, totals: Floats) -> dict[str, float]:
        """The score of each category, 0..1 of its 200."""
        values = _categories(totals)
        return {name: float(value) for name, value in zip(PERCEPTION, values, strict=True)}


@dataclass(frozen=True)
class Circular(Metric):
    """Multiple choice in every order of the options: right if all orders are answered right.

    Liu et al., MMBench, ECCV 2024: the options are rotated, and a question counts only where the
    model finds the right one in every rotation. Rotations of a question have ids that are equal
    modulo 1,000,000. The right answers of a question are its letter and then the texts of all its
    options, because an answer may be the text of an option (`find_option`).
    """

    name: ClassVar[str] = "circular"
    title: ClassVar[str] = "accuracy with all rotations right"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0 for one rotation."""
        letter, *options = answers
        return float(find_option(given, options) == letter.strip().upper())

    def tally_image(self, records: Sequence[Answered]) -> list[float]:
        """Counts [questions right in all rotations, questions]."""
        rotations: dict[int, list[float]] = defaultdict(list)
        for record in records:
            rotations[int(record.item) % ROTATION].append(record.score)
        return [sum(min(scores) for scores in rotations.values()), float(len(rotations))]


def _yes_or_no(text: str) -> str:
    """`"yes"`, `"no"`, or an empty text: MME's own rule, which reads the first four characters."""
    start = text.lower().strip().replace(".", "")
    if start in ("y", "n"):
        return "yes" if start == "y" else "no"
    for word in ("yes", "no"):
        if word in start[:4]:
            return word
    return ""


def _categories(totals: Floats) -> Floats:
    """Score of each category. [..., 40] -> [..., 10]."""
    cells = totals.reshape(*totals.shape[:-1], len(PERCEPTION), 4)
    accuracy = ratio(cells[..., 0], cells[..., 1])
    pairs = ratio(cells[..., 2], cells[..., 3])
    return (accuracy + pairs) / 2
