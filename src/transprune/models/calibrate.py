"""Measure which decoder layers need visual tokens least: ShortV's layer contribution, on any model.

    from transprune import calibrate
    measured = calibrate.layer_contributions(model, prompts)      # prompts: model inputs, one each
    method = ShortV(measured.order, count=19)

On the command line: `transprune calibrate --model ... --image ... --question ...`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import LayoutError, TuneError
from transprune.families import find_family
from transprune.methods.shortv import ShortV
from transprune.session import prune


@dataclass(frozen=True)
class LayerContributions:
    """How much each decoder layer changes the answer by updating the visual tokens.

    Attributes:
        nats: per layer, the mean KL divergence of the next-token distribution when that layer
            alone is frozen; NaN for layers without keys of their own, which cannot be.
        prompts: number of prompts in the mean.
    """

    nats: tuple[float, ...]
    prompts: int

    @property
    def order(self) -> tuple[int, ...]:
        """All that were measured, smallest contribution first; of equal ones the deeper one."""
        # freezing a deep layer changes fewer layers after it
        measured = [layer for layer, nats in enumerate(self.nats) if not math.isnan(nats)]
        return tuple(sorted(measured, key=lambda layer: (self.nats[layer], -layer)))


@torch.no_grad()
def layer_contributions(
    model: nn.Module, prompts: Iterable[Mapping[str, Any]]
) -> LayerContributions:
    """Measure every layer's contribution: one unpruned pass per prompt, and one per frozen layer.

    The divergence is KL(frozen || full) between the answer with the layer frozen and the unpruned
    one, at the last position, as in ShortV's code (arXiv 2504.00502, section 3.2; there over 20
    prompts of GQA and 20 of Flickr30k). It is 0 for the last layer: no later layer attends to the
    visual tokens that it updates.

    Args:
        model: a model of a known family, not being pruned.
        prompts: what the processor returns for a picture and a question, already on the model's
            device. A batch counts as its samples; pad on the left.

    Raises:
        LayoutError: no prompts.
        TuneError: the unpruned model's logits are not numbers.
        SessionError: the model is being pruned.
    """
    family = find_family(model)
    kinds = family.layer_kinds(family.base(model))
    frozen = [layer for layer, kind in enumerate(kinds) if kind.stores_keys]
    # sums of many small numbers
    total = torch.full((len(kinds),), math.nan, dtype=torch.float64)
    total[frozen] = 0
    count = 0

    for inputs in prompts:
        full = _next_token(model, inputs)
        if full.isnan().any():
            # such a layer would count as one that cannot be frozen
            raise TuneError(
                "the unpruned model's logits are not numbers (NaN or infinity), so no layer's "
                "contribution can be measured; try --dtype float32 or bfloat16"
            )

        count += len(full)
        for layer in frozen:
            with prune(model, ShortV((layer,))):
                total[layer] += _divergence(_next_token(model, inputs), full)

    if not count:
        raise LayoutError("calibration needs at least one prompt with a picture; the paper uses 40")

    # a divergence is never negative, but rounding may put a layer without effect just below 0
    mean = total.clamp(min=0) / count
    return LayerContributions(tuple(mean.tolist()), count)


def _next_token(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Log-probabilities of the next token, fp32. -> [B, vocabulary]."""
    logits = model(**inputs, use_cache=False).logits[:, -1]  # [B, L, V] -> [B, V]
    return logits.float().log_softmax(dim=-1)


def _divergence(frozen: Tensor, full: Tensor) -> float:
    """KL(frozen || full) in nats, summed over the batch."""
    share = frozen.exp()
    # tokens that cannot follow (minus infinity) have no part in the sum
    return float(torch.where(share > 0, share * (frozen - full), 0.0).sum())
