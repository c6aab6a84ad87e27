"""PLPHP: every layer its own retention rate, every head its own visual tokens, in the cache."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from transprune.core.cache_view import CacheView, HeadRanking
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.cache_pruner import CachePruner
from transprune.methods.common.checks import check_count, check_ratio, check_share
from transprune.methods.common.method import Fidelity
from transprune.methods.common.recipe import register


@register("plphp")
@dataclass(frozen=True)
class PLPHP(CachePruner):
    """Evict visual keys and values from the cache, more where a layer looks at the image less.

    Meng et al., "PLPHP: Per-Layer Per-Head Vision Token Pruning for Efficient Large
    Vision-Language Models", 2025. https://arxiv.org/abs/2502.14504

    How much of its attention the last prompt token of a layer gives to the image, mean over heads,
    puts the layer into one of three classes: attentive (at least `alpha`), indifferent (at most
    `beta`), and all others. These keep `rate + step`, `rate - step` and `rate` of the visual keys.
    Which ones, each key/value head decides for itself, by the attention that it gives them. The
    hidden states stay whole, so the prompt costs what it did and its logits are those of the
    unpruned model; the cache is smaller and decoding cheaper. With several images pooled apart
    (`pool="image"`), each has a class of its own.

    The idea is that of the abstract and of a summary. The numbers are recalled, not verified, and
    the first layer is a placeholder. Three choices are ours: the heads of a group that share keys
    add their attention, shares are rounded up, and a layer takes its class from the visual tokens
    that are in it, where another method has dropped some before.

    Args:
        rate: share of the visual keys that a balanced layer keeps. Default 0.4; recalled.
        step: how much more an attentive layer keeps, and an indifferent one less. Default 0.3;
            recalled.
        alpha: attention to the image from which on a layer is attentive. Default 0.25; recalled.
        beta: attention to the image up to which a layer is indifferent. Default 0.1; recalled.
        layer: so many layers keep everything. Not scaled with depth. Default 2; a placeholder.

    Raises:
        MethodError, ScheduleError: settings out of range, or more layers than the model has.
        CacheError: on a model with sliding windows or shared keys.
        MissingSignal: when run on a model whose attention has no query projection to read.
    """

    rate: float = 0.4
    step: float = 0.3
    alpha: float = 0.25
    beta: float = 0.1
    layer: int = 2

    title: ClassVar[str] = "PLPHP: keys and values evicted layer by layer, head by head"
    paper: ClassVar[str] = "Meng et al., 2025, arXiv 2502.14504"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "classes of layers and heads from the abstract and a summary; thresholds, rates and the "
        "first layer are recalled, rounding and grouped heads are ours"
    )
    budget_fields: ClassVar[tuple[str, ...]] = ("rate", "step")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("rate", self.rate)
        check_share("step", self.step, "is added to the rate or taken off it", ScheduleError)
        if self.step > self.rate:
            raise ScheduleError(
                f"an indifferent layer keeps rate - step, so step is at most rate; got rate "
                f"{self.rate!r} and step {self.step!r}"
            )

        check_share("alpha", self.alpha, "is a share of attention")
        check_share("beta", self.beta, "is a share of attention")
        if self.beta > self.alpha:
            raise MethodError(
                f"beta is at most alpha, from which on a layer is attentive; got alpha "
                f"{self.alpha!r} and beta {self.beta!r}"
            )

        check_count("layer", self.layer, "the number of layers that keep everything", least=0)

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """All from `layer` on."""
        if self.layer >= num_layers:
            raise ScheduleError(
                f"layer is the number of layers that keep everything, below {num_layers} on this "
                f"model; got {self.layer}"
            )
        return tuple(range(self.layer, num_layers))

    def counts(self, layer: int, visual_tokens: int) -> tuple[int, ...]:
        """Of an indifferent, a balanced and an attentive layer; rounded up."""
        rates = (self.rate - self.step, self.rate, self.rate + self.step)
        return tuple(_count(rate, visual_tokens) for rate in rates)

    def rank(self, view: CacheView) -> HeadRanking:
        """By the attention of the last token, summed over the heads that share keys."""
        attention = view.attention_by_kv_head("last")[:, :, 0]  # [G, Hkv, N]
        looked = attention.sum(dim=(1, 2)) / view.heads  # mean over query heads, [G]

        # where both thresholds are one number, it makes a layer attentive
        attentive = looked >= self.alpha
        choice = attentive.long() + (attentive | (looked > self.beta))
        return HeadRanking(attention, choice)

    def scaled_by(self, factor: float) -> PLPHP:
        """With `factor` times the rates of all three classes, each at most 1."""
        if not factor > 0:
            raise MethodError(f"a rate is scaled by a positive factor; got {factor!r}")
        few = min(1.0, (self.rate - self.step) * factor)
        rate = min(1.0, self.rate * factor)
        return replace(self, rate=rate, step=rate - few)


def _count(rate: float, total: int) -> int:
    """`rate` of `total`, rounded up; at least one, at most all."""
    # 0.4 - 0.3 is a little more than 0.1, and must not add a token
    return max(1, min(total, math.ceil(rate * total - 1e-6)))
