"""How far a method is from the unpruned model on one batch of questions.

The unpruned answer is given to the pruned model token by token, so the distributions at each step
are about the same beginning. The prompt stays as it is: put into the prompt, the answer would count
as a part of the instruction, and methods that read it would choose other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import LogitsProcessor, LogitsProcessorList

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.answers import reads_tower, to_device
from transprune.bench.run.prepared import PreparedQuestions
from transprune.errors import TuneError
from transprune.methods.common.method import Method
from transprune.tune.plan import LossKind
from transprune.tune.unpruned import GREEDY, Reference, last_hidden


@dataclass(frozen=True)
class Distance:
    """Distances of a batch of B questions, one number each.

    Attributes:
        kl: mean over the answer tokens of KL(unpruned || pruned), in nats.
        same: whether each of these tokens is still the most likely one, so that the greedy answer
            begins the same.
    """

    kl: list[float]
    same: list[bool]


class ForcedAnswer(LogitsProcessor):
    """Let `generate` continue with given tokens.

    Args:
        tokens: the continuation of each row, long [B, T].
        prompt: length of the prompts.
    """

    def __init__(self, tokens: Tensor, prompt: int) -> None:
        self.tokens = tokens
        self.prompt = prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores that leave only the next given token. [B, V] -> [B, V]."""
        step = input_ids.shape[1] - self.prompt
        only = torch.full_like(scores, float("-inf"))
        return only.scatter(1, self.tokens[:, step : step + 1], 0.0)


def losses(
    questions: PreparedQuestions,
    items: Sequence[Item],
    reference: Reference,
    method: Method,
    kind: LossKind,
) -> list[float]:
    """One loss per question; 0 is the unpruned model.

    Raises:
        TuneError: the loss is about the prompt, which the method leaves as it is.
    """
    if kind == "kl":
        return distance(questions, items, reference, method).kl

    if questions.nominal().evictions(method):
        raise TuneError(
            f"loss 'last-token' looks at the prompt, and {method.name} evicts keys behind it, so every "
            "setting would look perfect; use --loss kl, which follows the answer"
        )

    with questions.prune(method), torch.no_grad():
        last = last_hidden(questions, _inputs(questions, items, method)).cpu()  # [B, D]

    away = 1 - cosine_similarity(last, reference.last, dim=-1)  # [B]
    return away.tolist()


def distance(
    questions: PreparedQuestions, items: Sequence[Item], reference: Reference, method: Method
) -> Distance:
    """The distances of a method on one batch."""
    model = questions.checkpoint.model
    inputs = _inputs(questions, items, method)
    forced = ForcedAnswer(reference.tokens.to(model.device), inputs["input_ids"].shape[1])

    with questions.prune(method), torch.no_grad():
        given = model.generate(
            **inputs,
            max_new_tokens=reference.tokens.shape[1],
            logits_processor=LogitsProcessorList([forced]),
            **GREEDY,
        )

    return compare(reference, torch.stack(given.logits, dim=1).float().cpu())


def compare(reference: Reference, logits: Tensor) -> Distance:
    """The distances between the reference and the pruned model's logits, float32 [B, T, V]."""
    expected = reference.log_probs.float()
    given = logits.log_softmax(dim=-1)
    share = expected.exp()
    # tokens that cannot follow (minus infinity) have no part in the sum
    parts = torch.where(share > 0, share * (expected - given), 0.0)
    per_token = parts.sum(dim=-1)  # [B, T, V] -> [B, T]

    # tokens behind the end of an answer are padding
    real = reference.real
    kl = torch.where(real, per_token, 0.0).sum(dim=-1) / real.sum(dim=-1)  # [B]
    same = ((logits.argmax(dim=-1) == reference.tokens) | ~real).all(dim=-1)  # [B]

    # rounding of the stored logarithms can make a tiny negative number of nothing
    return Distance(kl.clamp(min=0).tolist(), same.tolist())


def _inputs(questions: PreparedQuestions, items: Sequence[Item], method: Method) -> dict[str, Any]:
    batch = questions.batch(items, encoded=not reads_tower(method))
    return to_device(batch, questions.checkpoint.model)
