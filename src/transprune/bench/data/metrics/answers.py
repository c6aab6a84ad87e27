"""Metrics that are means over answers: exact match, VQA accuracy, multiple choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transprune.bench.data.metrics.base import Metric
from transprune.bench.data.metrics.text import bare, normalise, option_letter
from transprune.bench.data.metrics.vqa_text import normalise_textvqa, normalise_vqa


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

    @staticmethod
    def text(answer: str) -> str:
        """What of an answer is compared."""
        return normalise_vqa(answer)

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """The mean over the subsets, 0..1."""
        answer = self.text(given)
        matches = [answer == self.text(other) for other in answers]

        # each subset leaves one person out, and that person's match with it
        total = sum(matches)
        subsets = [min((total - own) / 3, 1.0) for own in matches]
        return float(np.mean(subsets))


@dataclass(frozen=True)
class TextVqa(Vqa):
    """VQA accuracy on texts as TextVQA and VizWiz compare them."""

    name: ClassVar[str] = "textvqa"
    title: ClassVar[str] = "VQA accuracy of TextVQA"

    @staticmethod
    def text(answer: str) -> str:
        """What of an answer is compared."""
        return normalise_textvqa(answer)


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


@dataclass(frozen=True)
class LeadingLetter(Metric):
    """Right if the answer is the right letter, or begins with it and a full stop; ScienceQA's rule.

    LLaVA-1.5's evaluation and lmms-eval read ScienceQA's answers so: `B`, `b` and `B. red` are
    option B, `(B)` and `The answer is B` are no letter at all.
    """

    name: ClassVar[str] = "leading_letter"
    title: ClassVar[str] = "accuracy of the leading letter"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        text = given.strip()
        right = answers[0].strip().lower()
        if text.lower() == right:
            return 1.0
        marked = text[:1].isupper() and text[1:2] == "."
        return float(marked and text[0].lower() == right)


@dataclass(frozen=True)
class FirstCharacter(Metric):
    """Right if the first character of the answer is the right letter; lmms-eval's rule for SEED.

    Any text counts as the option of its first character: `cyan` is option C.
    """

    name: ClassVar[str] = "first_character"
    title: ClassVar[str] = "accuracy of the first character"

    def grade(self, given: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        return float(given.strip()[:1].lower() == answers[0].strip().lower())
