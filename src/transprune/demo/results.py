"""The results of the demo."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transprune.demo.questions import Question

if TYPE_CHECKING:
    from transprune.demo.first_look import FirstLook


@dataclass(frozen=True)
class MethodResult:
    """One row of the demo's table.

    Attributes:
        method: recipe text, or `"unpruned"`.
        answers: the answers, one per question, in order.
        right: number of right answers.
        boundaries: decoder layers in front of which tokens are dropped.
        tokens: visual tokens in the prompt, and those that remain after each boundary.
        paper_share, exact_share: prefill cost relative to unpruned, by convention.
        time_share: measured prefill time relative to unpruned, median of pairs.
        kv_share: bytes of the key/value cache after the prefill, relative to unpruned.
    """

    method: str
    answers: tuple[str, ...]
    right: int
    boundaries: tuple[int, ...]
    tokens: tuple[int, ...]
    paper_share: float
    exact_share: float
    time_share: float
    kv_share: float


@dataclass(frozen=True)
class DemoResult:
    """All results of the demo.

    Attributes:
        questions: the questions.
        methods: one row per method, the unpruned model first.
        first: one question in detail; None where no method drops tokens.
        overlays: the pictures it wrote, one for each picture of the demo.
        seconds: how long it took.
    """

    questions: tuple[Question, ...]
    methods: tuple[MethodResult, ...]
    first: FirstLook | None
    overlays: tuple[Path, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        questions = [question.to_dict() for question in self.questions]
        methods = [asdict(method) for method in self.methods]
        overlays = [str(path) for path in self.overlays]

        return {
            "first": None if self.first is None else self.first.to_dict(),
            "questions": questions,
            "methods": methods,
            "overlays": overlays,
            "seconds": round(self.seconds, 2),
        }
