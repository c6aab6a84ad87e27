"""Which layers need visual tokens least: ShortV's layer contribution, measured on any model.

    from transprune import calibrate
    measured = calibrate.layer_contributions(model, prompts)      # prompts: model inputs, one each
    method = ShortV(measured.order, count=19)

On the command line: `transprune calibrate --model ... --image ... --question ...`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import LayoutError
from transprune.families import find_family
from transprune.methods.shortv import ShortV
from transprune.session import prune


@dataclass(frozen=True)
class LayerContributions:
    """How much each decoder layer changes the answer by updating the visual tokens.

    Attributes:
        nats: per layer, the mean KL divergence of the next-token distribution when that layer alone is frozen.
        prompts: how many prompts were averaged.
    """

    nats: tuple[float, ...]
    prompts: int

    @property
    def order(self) -> tuple[int, ...]:
        """All layers, the one that contributes least first; ties to the deeper one, whose freezing ruins less."""
        return tuple(sorted(range(len(self.nats)), key=lambda layer: (self.nats[layer], -layer)))


@torch.no_grad()
def layer_contributions(
    model: nn.Module, prompts: Iterable[Mapping[str, Any]]
) -> LayerContributions:
    """Measure every layer's contribution: one pass per prompt unpruned, and one with each layer frozen.

    The divergence is that of the answer with the layer frozen from the unpruned one, KL(frozen || full), at the last
    position, as in ShortV's code (arXiv 2504.00502, section 3.2; there over 20 prompts of GQA and 20 of Flickr30k).
    The last layer's is 0: nothing comes after it that could look at visual tokens.

    Args:
        model: a model of a known family, not being pruned.
        prompts: what the processor returns for a picture and a question, already on the model's device. A batch counts
            as its samples; pad on the left.

    Raises:
        LayoutError: no prompt at all.
        SessionError: the model is being pruned.
    """
    family = find_family(model)
    layers = len(family.layers(family.base(model)))
    total, count = torch.zeros(layers, dtype=torch.float64), 0
    for inputs in prompts:
        full = _last(model, inputs)
        count += len(full)
        for layer in range(layers):
            with prune(model, ShortV((layer,))):
                total[layer] += _divergence(_last(model, inputs), full)
    if not count:
        raise LayoutError(
            "calibrating takes at least one prompt with a picture; 40 are the paper's number"
        )
    # rounding may leave a layer without any effect a little below 0, which no divergence is
    return LayerContributions(tuple((total.clamp(min=0) / count).tolist()), count)


def _last(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Log-probabilities of the next token, fp32. -> [B, vocabulary]."""
    return model(**inputs, use_cache=False).logits[:, -1].float().log_softmax(dim=-1)


def _divergence(frozen: Tensor, full: Tensor) -> float:
    """KL(frozen || full) in nats, summed over the batch."""
    return float((frozen.exp() * (frozen - full)).sum())
