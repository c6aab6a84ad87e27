"""The runs that are timed: a prefill, a pruned prefill, and decode steps on the cache it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from transprune import Session
from transprune.core.library import cache_argument, cache_of_output

WORD = 5  # id of any text token

Inputs = dict[str, Tensor]


@torch.no_grad()
def prefill(model: Any, inputs: Inputs) -> Any:
    """One prefill with the logits of the last position only, as in `generate`."""
    return model(**inputs, use_cache=True, logits_to_keep=1)


def pruned_prefill(model: Any, inputs: Inputs, session: Session) -> Any:
    """The same inside a session; attaching its hooks is part of the time."""
    with session:
        return prefill(model, inputs)


def decode_step(model: Any, inputs: Inputs, session: Session | None = None) -> Callable[[], None]:
    """One decode step on the cache that a prefill leaves, as often as it is called.

    Args:
        model: the model.
        inputs: the prompt.
        session: of the prefill; the step has to run inside it. None: an unpruned cache.

    Returns:
        The step. It removes its token from the cache again, so every call finds the same one.
    """
    output = prefill(model, inputs) if session is None else pruned_prefill(model, inputs, session)
    cache = cache_of_output(output)

    samples = len(inputs["input_ids"])
    arguments = {"input_ids": torch.full((samples, 1), WORD), **cache_argument(model, cache)}
    mask = inputs.get("attention_mask")
    if mask is not None:
        # `generate` passes the mask of the unpruned sequence
        arguments["attention_mask"] = torch.cat([mask, mask.new_ones(samples, 1)], dim=1)

    @torch.no_grad()
    def step() -> None:
        model(**arguments, use_cache=True)
        cache.crop(-1)

    return step
