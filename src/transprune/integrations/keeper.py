"""Answers that somebody keeps while lmms-eval asks: known ones are not given again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from transprune.bench.run.answers import ModelAnswer, pruned_answer, unpruned_answer
from transprune.integrations.batches import Answers
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint


class Keeper(Protocol):
    """Who keeps the answers of a task."""

    def known(self, number: int) -> str | None:
        """The answer to a row of the task; None if there is none yet."""

    def keep(self, answers: Sequence[tuple[int, ModelAnswer]]) -> None:
        """Keep the answers of one batch, each with the number of its row."""

    def leave_out(self, number: int, error: Exception) -> None:
        """Note that a row cannot be asked, as its picture is damaged."""

    def stop(self, error: Exception) -> None:
        """Note what keeps every further row from being answered."""


def model_answers(
    answers: Answers, checkpoint: Checkpoint, method: Method | None
) -> list[ModelAnswer]:
    """The answers of a batch with what each of them cost."""
    found = []
    for place, text in enumerate(answers.texts):
        if answers.trace is not None:
            found.append(pruned_answer(answers.trace, place, text, repr(method)))
            continue
        # without a trace nothing was pruned, and all tokens count
        visual = answers.visual_tokens[place]
        rest = answers.prompt_tokens[place] - visual
        found.append(unpruned_answer(checkpoint, text, visual, rest))

    return found
