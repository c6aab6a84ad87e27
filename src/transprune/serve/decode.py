"""What runs between two tokens of a batch: choosing the next ones, and handing them out.

Every row has its own temperature, seed, length and stop sequences, so that requests of all kinds
run together. Both are called by `generate` in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from transprune.serve.job import Growing, Sampling

NEVER = -float("inf")


class Chooser:
    """A logits processor that draws for the rows with a temperature; others stay greedy.

    A drawn token is the only one left in its row, so `generate` itself runs greedily. Each row
    draws from a generator of its own: a seed gives the same answer alone and in any batch.
    """

    def __init__(self, rows: Sequence[Sampling]) -> None:
        self._drawing: dict[int, tuple[Sampling, torch.Generator]] = {}
        for number, sampling in enumerate(rows):
            if sampling.temperature > 0:
                generator = torch.Generator().manual_seed(sampling.seed)
                self._drawing[number] = (sampling, generator)

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] in which a drawing row has one token left."""
        if not self._drawing:
            return scores

        chosen = scores.clone()
        for number, (sampling, generator) in self._drawing.items():
            token = draw(scores[number], sampling, generator)
            chosen[number] = NEVER
            chosen[number, token] = 0.0

        return chosen


def draw(scores: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token drawn from logits [V], from the smallest set with a probability of `top_p`."""
    shares = (scores.float() / sampling.temperature).softmax(dim=-1).cpu()
    ordered, tokens = shares.sort(descending=True, stable=True)

    # the token that crosses the threshold still belongs to the set, so the first always does
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    ordered[0] = shares.max()  # top_p = 0 leaves the best one
    return int(tokens[torch.multinomial(ordered, 1, generator=generator)])


class Watcher:
    """A stopping criterion that hands out new tokens and ends the rows that are done.

    Args:
        answers: one per row of the batch.
        prompt: slots of the prompt, padding included.
        finish: called once for each row that has its last token.
    """

    def __init__(
        self, answers: Sequence[Growing], prompt: int, finish: Callable[[int], None]
    ) -> None:
        self._answers = answers
        self._seen = prompt
        self._finish = finish

    def __call__(self, ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Which rows are done, bool [B]."""
        # one copy to the host per step; a device may hand over several tokens at once
        fresh = ids[:, self._seen :].tolist()
        self._seen = ids.shape[1]

        for number, tokens in enumerate(fresh):
            self._add(number, tokens)
        over = [answer.job.over for answer in self._answers]
        return torch.tensor(over, device=ids.device)

    def _add(self, number: int, tokens: Sequence[int]) -> None:
        answer = self._answers[number]
        for token in tokens:
            answer.push(token)
            if answer.job.over:
                return
            if answer.reason is not None:
                self._finish(number)
                return
