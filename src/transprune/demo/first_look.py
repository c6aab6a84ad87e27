"""The first thing the demo shows: one picture, one question, what was kept, and what it saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.demo.questions import Question
from transprune.demo.results import MethodResult


@dataclass(frozen=True)
class FirstLook:
    """One question, answered unpruned and with one method.

    Attributes:
        question: the question, with its picture and right answer.
        unpruned: answer of the unpruned model.
        method: recipe text of the method.
        pruned: answer with that method.
        boundaries: decoder layers in front of which tokens are dropped.
        tokens: visual tokens in the prompt, and those that remain after each boundary.
        exact_share: prefill work of this prompt relative to unpruned, `exact` convention.
        kv_share: bytes of its key/value cache after the prefill, relative to unpruned.
        rows, columns: the grid of the picture's tokens.
        kept: numbers of the tokens that stay to the end, in raster order.
        file: the picture of it.
    """

    question: Question
    unpruned: str
    method: str
    pruned: str
    boundaries: tuple[int, ...]
    tokens: tuple[int, ...]
    exact_share: float
    kv_share: float
    rows: int
    columns: int
    kept: tuple[int, ...]
    file: Path

    @property
    def same_answer(self) -> bool:
        """Whether pruning left the answer as it was."""
        return self.pruned == self.unpruned

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {
            **self.question.to_dict(),
            "unpruned": self.unpruned,
            "method": self.method,
            "pruned": self.pruned,
            "boundaries": list(self.boundaries),
            "tokens": list(self.tokens),
            "exact_share": self.exact_share,
            "kv_share": self.kv_share,
            "kept": list(self.kept),
            "file": str(self.file),
        }


def choose_question(questions: Sequence[Question]) -> Question:
    """The question to begin with: the first about a shape, because it names one object.

    It is chosen without looking at any answer.
    """
    for question in questions:
        if question.category == "shape":
            return question
    return questions[0]


def choose_method(rows: Sequence[MethodResult]) -> MethodResult | None:
    """The method to begin with: the first that drops tokens, or None if there is none."""
    for row in rows:
        if row.boundaries:
            return row
    return None
