"""A batch to learn from: prompts with their answers behind them, and what the model is to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.answers import to_device
from transprune.bench.run.prepared import PreparedQuestions
from transprune.errors import TrainingError


@dataclass(frozen=True)
class Lesson:
    """A batch of B prompts, padded on the left, so that all answers end at the last row.

    Attributes:
        inputs: of the model, answers included.
        answer_rows: rows of each answer at the end of its prompt, which are no instruction.
        targets: the tokens that the last R rows predict, long [B, R]; -100 where that is no answer.
    """

    inputs: dict[str, Any]
    answer_rows: tuple[int, ...]
    targets: Tensor


class Answers:
    """Token ids of the right answers.

    Args:
        questions: the prepared questions.
    """

    def __init__(self, questions: PreparedQuestions) -> None:
        self._questions = questions
        self._tokenizer = questions.checkpoint.processor.tokenizer
        self._end = self._tokenizer.eos_token_id

    def ids(self, item: Item) -> list[int]:
        """The first right answer and the end of the sequence, where the tokenizer has one.

        Raises:
            TrainingError: an answer without a token.
        """
        found: list[int] = self._tokenizer(item.answers[0], add_special_tokens=False)["input_ids"]
        if not found:
            raise TrainingError(
                f"question {item.id!r}: the answer {item.answers[0]!r} has no token to learn from"
            )
        return found if self._end is None else [*found, self._end]

    def lesson(self, items: Sequence[Item]) -> Lesson:
        """Prompts with answers; the last token of each is a target only."""
        answers = [self.ids(item) for item in items]
        given = [torch.tensor([answer[:-1]], dtype=torch.long) for answer in answers]
        rows = max(len(answer) for answer in answers)

        # -100 is the class that torch's cross entropy leaves out; answers end in the same row
        targets = torch.full((len(items), rows), -100, dtype=torch.long)
        for row, answer in enumerate(answers):
            targets[row, rows - len(answer) :] = torch.tensor(answer)

        model = self._questions.checkpoint.model
        inputs = self._questions.batch(items, encoded=True, behind=given)

        return Lesson(
            inputs=to_device(inputs, model),
            answer_rows=tuple(len(answer) - 1 for answer in answers),
            targets=targets.to(model.device),
        )
