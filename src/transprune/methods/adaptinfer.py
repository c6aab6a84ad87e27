"""AdaptInfer: the words that matter to each other now weigh the attention to the image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from transprune.core.plan import Stage
from transprune.core.schedule import Schedule, ScheduleLike, count_kept
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.errors import MethodError
from transprune.methods.common.budgets import budget_schedule
from transprune.methods.common.checks import check_choice, check_share
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.recipe import ADDED, register
from transprune.methods.common.scheduled import ScheduledPruner

# the code cuts after its 0-based layers 1, 10, 20
BOUNDARIES = (2, 11, 21)

# budget -> tokens of 576 that stay at each boundary
BUDGETS = {128: (290, 72, 18), 64: (133, 27, 3), 48: (80, 24, 2), 32: (40, 12, 0)}

# Qwen2-VL-2B, which has 28 layers: share -> shares of the tokens that arrive at each cut
QWEN_BOUNDARIES = (1, 10, 20)
QWEN = {0.1: (0.17, 0.6, 0.3), 0.3: (0.5, 0.6, 0.3), 0.5: (0.7, 0.9, 0.3)}


@register("adaptinfer")
@dataclass(frozen=True)
class AdaptInfer(ScheduledPruner):
    """Weigh each word's attention to the image by how much the words attend to each other.

    Zhang et al., AdaptInfer, 2025. https://arxiv.org/abs/2508.06084

    Both attentions are those of the layer that has just run. A word's importance, per head, is the
    attention it gives to and gets from the instruction; the score of a visual token is the
    attention it gets, so weighted, over all words and heads. A published budget is an average per
    layer if the cutting layers are credited with the tokens they leave: "128" really processes
    146.2 tokens per layer.

    Args:
        keep: a budget (128, 64, 48, 32 as published, others between them), or boundary -> share of
            the original tokens. Default: 128, 290/72/18 of 576 at 2, 11, 21 of 32 layers.
        blend: 1 weighs by importance (the code's default), 0 by its mean over heads and words,
            alike for all.
        rounding: `"once"` keeps `int(N * share)` of the original tokens at every cut (default);
            `"each"` rounds down at each cut the share of the tokens that arrive there, as the code
            for Qwen2-VL does.
        positions: default `"renumber"`, as in the code.

    Raises:
        MethodError, ScheduleError: a blend outside [0, 1], or ratios or budgets out of range.
    """

    keep: ScheduleLike | int = 128  # type: ignore[assignment]
    blend: float = 1.0
    rounding: Literal["once", "each"] = field(default="once", metadata=ADDED)

    title: ClassVar[str] = "AdaptInfer: words weighted by each other rate the image"
    paper: ClassVar[str] = "Zhang et al., 2025, arXiv 2508.06084"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "one visual token stays where the code of the smallest budget drops all"
    )
    presets: ClassVar[tuple[str, ...]] = ("qwen",)
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Reads(rows="instruction", source="previous")

    def __post_init__(self) -> None:
        check_share("blend", self.blend, "blends equal weights (0) with importance (1)")
        check_choice("rounding", self.rounding, ("once", "each"))

        # the field holds the schedule from here on, so that `repr` and recipes show it
        if isinstance(self.keep, int):
            object.__setattr__(self, "keep", budget_schedule(self.keep, BUDGETS, BOUNDARIES))
        super().__post_init__()

    @classmethod
    def qwen(cls, share: float = 0.3, **changes: Any) -> AdaptInfer:
        """The settings for Qwen2-VL-2B: a share of 0.1, 0.3 or 0.5.

        It cuts after layers 0, 9, 19 of its 28.
        """
        if share not in QWEN:
            raise MethodError(f"share is one of {', '.join(map(str, QWEN))}; got {share!r}")

        # a schedule counts from the original tokens, the code from those that arrive at a cut
        first, second, third = QWEN[share]
        ratios = (first, first * second, first * second * third)
        keep = Schedule(dict(zip(QWEN_BOUNDARIES, ratios, strict=True)), depth=28)
        return cls(**{"keep": keep, "rounding": "each", **changes})

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage per cut, rounded as `rounding` says; at least one token stays."""
        stages = super().plan(num_layers, visual_tokens)
        if self.rounding == "once":
            return stages

        rounded = []
        here = visual_tokens
        before = 1.0
        for stage, (_, ratio) in zip(stages, self.schedule(num_layers), strict=True):
            count = _round_down(here, ratio / before)
            before = ratio
            here = max(1, count)
            rounded.append(replace(stage, count=here, rounded_up=count < 1))

        return tuple(rounded)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Attention to the image, weighted by each word's importance, over heads and words."""
        words = view.attention_within_instruction()  # [H, T, T]
        image = view.attention("instruction")  # [H, T, N]

        # attention given plus attention received; a word's attention to itself counts once
        mutual = words + words.mT - words.diagonal(dim1=1, dim2=2).diag_embed()
        importance = mutual.sum(dim=1)  # [H, T, T] -> [H, T]

        # one number for all heads and words, as in the code
        alike = importance.mean()
        importance = self.blend * importance + (1 - self.blend) * alike

        weighted = importance[..., None] * image
        return {"score": weighted.sum(dim=(0, 1))}  # [H, T, N] -> [N]


def _round_down(tokens: int, share: float) -> int:
    """How many of `tokens` are `share` of them, a quotient of two shares of a schedule."""
    # 0.5 * 0.6 / 0.5 need not be 0.6, which is the number the code multiplies by; `int` alone, as
    # there: by the last bit of the product 0.7 of 90 are 62
    published = round(share, 4)
    if math.isclose(published, share, rel_tol=1e-12):
        return int(tokens * published)

    # other shares come from counts, as 27 of 133
    return count_kept(tokens, share)
