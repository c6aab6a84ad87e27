"""Metrics that are means over answers: exact match, VQA accuracy, multiple choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transprune.bench.data.metrics.base import Metric
from transprune.bench.data.metrics.text import bare, normalise, normalise_vqa, option_letter


@dataclass(frozen=True)
class ExactMatch(Metric):
    """Right if the normalised answer equals one of the normalised right answers."""

    name: ClassVar[str] = "exact_match"
    title: ClassVar[str] = "exact match"

    @staticmethod
    def text(answer: str) -> str:
        """What of an answer is compared."""
        return normalise(answer)

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        right = {self.text(answer) for answer in answers}
        return float(self.text(given) in right)


@dataclass(frozen=True)
class Vqa(Metric):
    """VQA accuracy against ten people: right if three of any nine of them gave the same answer.

    Antol et al., VQA, ICCV 2015: mean over the ten subsets of nine of min(matches / 3, 1), on texts
    without articles and punctuation, numbers up to ten as digits.
    """

    name: ClassVar[str] = "vqa"
    title: ClassVar[str] = "VQA accuracy"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """The mean over the subsets, 0..1."""
        answer = normalise_vqa(given)
        matches = [answer == normalise_vqa(other) for other in answers]

        # each subset leaves one person out, and that person's match with it
        total = sum(matches)
        subsets = [min((total - own) / 3, 1.0) for own in matches]
        return float(np.mean(subsets))


@dataclass(frozen=True)
class ExactText(ExactMatch):
    """Right if the answer equals a right one but for case and punctuation; GQA's accuracy."""

    name: ClassVar[str] = "exact_text"
    title: ClassVar[str] = "exact match with articles"

    @staticmethod
    def text(answer: str) -> str:
        """The text without case and punctuation."""
        return bare(answer)


@dataclass(frozen=True)
class MultipleChoice(Metric):
    """Right if the first option letter that stands alone in the answer is the right one."""

    name: ClassVar[str] = "mc"
    title: ClassVar[str] = "multiple-choice accuracy"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        return float(option_letter(given) == answers[0].strip().upper())
