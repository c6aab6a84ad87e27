"""Ask a model a question about pictures, pruned or not, and measure what the answer takes.

Decoding is greedy. A stopping criterion reads the clock inside `generate`, so one run gives both
the time to the first token and the total.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from transprune.cost.count import Convention, Cost
from transprune.cost.count import unpruned_cost as count_unpruned
from transprune.cost.geometry import Geometry
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.models.clock import FirstToken, clock
from transprune.models.prompt import build_prompt as build_prompt
from transprune.models.prompt import count_images as count_images
from transprune.models.prompt import count_visual as count_visual
from transprune.models.prompt import prepare as prepare
from transprune.runtime.pools import Pool
from transprune.session import prune
from transprune.trace import Trace


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: the generated text, without special tokens.
        tokens: number of new tokens, the end-of-sequence token included.
        first_token: seconds until the first new token: vision tower, prefill and pruning.
        total: seconds of the whole `generate` call.
        trace: which tokens were kept; None without a method.
    """

    text: str
    tokens: int
    first_token: float
    total: float
    trace: Trace | None = None

    @property
    def per_token(self) -> float | None:
        """Seconds per new token after the first; None if there was only one."""
        if self.tokens < 2:
            return None
        return (self.total - self.first_token) / (self.tokens - 1)


def ask(
    checkpoint: Checkpoint,
    inputs: Any,
    method: Method | str | None = None,
    max_new_tokens: int = 64,
    pool: Pool = "sample",
) -> Answer:
    """The greedy answer to a prepared prompt, pruned by `method`; None runs the model unpruned.

    `pool` is what the method ranks together, as in `prune`.
    """
    if method is None:
        return _generate(checkpoint, inputs, max_new_tokens)

    text_tower = checkpoint.text_tower
    with prune(checkpoint.model, method, pool=pool, text_tower=text_tower) as session:
        answer = _generate(checkpoint, inputs, max_new_tokens)
    return replace(answer, trace=session.trace)


def prefill_seconds(checkpoint: Checkpoint, inputs: Any) -> float:
    """Seconds of one forward over the prompt that fills a cache and computes one row of logits."""
    device = checkpoint.model.device
    start = clock(device)
    with torch.no_grad():
        checkpoint.model(**inputs, use_cache=True, logits_to_keep=1)
    return clock(device) - start


def unpruned_cost(checkpoint: Checkpoint, inputs: Any, convention: Convention) -> Cost:
    """The cost of a prepared prompt without pruning."""
    geometry = Geometry.from_config(checkpoint.model.config)
    visual = count_visual(checkpoint, inputs)
    text = int(inputs["attention_mask"].sum()) - visual
    dtype_bytes = checkpoint.model.dtype.itemsize
    return count_unpruned(geometry, visual, text, convention, dtype_bytes)


def _generate(checkpoint: Checkpoint, inputs: Any, max_new_tokens: int) -> Answer:
    from transformers import StoppingCriteriaList

    device = checkpoint.model.device
    first = FirstToken(device)
    start = clock(device)
    with torch.no_grad():
        ids = checkpoint.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            stopping_criteria=StoppingCriteriaList([first]),
        )

    total = clock(device) - start

    new = ids[0, inputs["input_ids"].shape[1] :]  # [1, L + new] -> [new]
    text = checkpoint.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert first.at is not None  # an answer has at least one token
    return Answer(text, len(new), first.at - start, total)
