"""SparseVLM: the words that match the image rate its tokens; some of what they reject is recycled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.cluster import density_peaks
from transprune.algebra.select import group_mean, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule, ScheduleLike, count_kept
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.errors import MethodError
from transprune.methods.common.budgets import budget_schedule
from transprune.methods.common.method import Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner

BOUNDARIES = (
    3,
    7,
    16,
)  # the code cuts after its 0-based layers 2, 6, 15, which still run on everything
BUDGETS = {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)}
PLUS = {192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20)}
RANK = Schedule({3: 1.0, 7: 1.0, 16: 1.0, 20: 1.0}, depth=32)
FLOOR = 0.1  # of the guarded decay: what is divided by it grows tenfold at most


@register("sparsevlm")
@dataclass(frozen=True)
class SparseVLM(ScheduledPruner):
    """Keep what the visually relevant words attend to, and merge the best of the rest into a few new tokens.

    Zhang et al., SparseVLM, ICML 2025. https://arxiv.org/abs/2410.04417

    The raters are the instruction tokens whose embedding matches the visual embeddings better than average; the score
    is their mean attention in the layer in front of the boundary. Version 1.5 of the code is the default, `plus()` its
    version 2. A budget of 192 is the average per layer if the cutting layers are credited with what they leave; 206.5
    tokens are really processed.

    Args:
        keep: a budget (192, 128, 96, 64 as published, others between them), or boundary -> share of the original
            tokens. Default: 192, 300/200/110 of 576 at 3, 7, 16 of 32 layers. With `budget="rank"` upper bounds.
        budget: `"fixed"`, or `"rank"`: keep `rank(rater attention) * rank_scale + rank_offset`, as the first release
            did; its values were 13.5 and 0 (for 192), 9 and 6 (128), 0.8 and 0 (64).
        recycle: merge the best 30 % of what is dropped into a tenth as many tokens.
        decay: divide the attention by what distance alone does to it: `"off"`; `"guarded"`, by at least 0.1;
            `"released"`, by the raw value, as the code of version 2 does although it may be negative.
        heads: share of the heads that score, those with the most attention to the image. Version 2: 14 of 28.
        seed: of the noise (up to 1e-6) that decides between equally dense tokens; None for no noise.
        positions: default `"renumber"`; `"keep"` in version 2.

    Raises:
        MethodError, ScheduleError: settings or budgets out of range.
    """

    keep: ScheduleLike | int | None = None  # type: ignore[assignment]
    budget: Literal["fixed", "rank"] = "fixed"
    rank_scale: float = 13.5
    rank_offset: float = 0.0
    recycle: bool = True
    decay: Literal["off", "guarded", "released"] = "off"
    heads: float = 1.0
    seed: int | None = 0

    title: ClassVar[str] = "SparseVLM: rated by the words that match the image, the rest recycled"
    paper: ClassVar[str] = "Zhang et al., ICML 2025, arXiv 2410.04417"
    differs_from_code: ClassVar[str] = (
        "a recycled token stays at its cluster's centre instead of behind all others; keeping everything is allowed "
        "(the code drops at least one); the guard of the decay is ours"
    )
    presets: ClassVar[tuple[str, ...]] = ("plus",)
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Reads(rows="instruction", source="previous", embeddings=True)

    def __post_init__(self) -> None:
        if self.budget not in ("fixed", "rank") or self.decay not in ("off", "guarded", "released"):
            raise MethodError(
                "budget is 'fixed' or 'rank', decay 'off', 'guarded' or 'released'; got "
                f"{self.budget!r} and {self.decay!r}"
            )
        if isinstance(self.heads, bool) or not 0 < self.heads <= 1 or not self.rank_scale > 0:
            raise MethodError(
                f"heads lies in (0, 1], rank_scale above 0; got {self.heads!r} and {self.rank_scale!r}"
            )
        keep = self.keep
        if keep is None:
            keep = RANK if self.budget == "rank" else 192
        if isinstance(keep, int):
            keep = budget_schedule(keep, BUDGETS, BOUNDARIES)
        object.__setattr__(self, "keep", keep)
        super().__post_init__()

    @classmethod
    def plus(cls, keep: ScheduleLike | int = 192, **changes: Any) -> SparseVLM:
        """Version 2 (SparseVLM+): its budgets, attention freed of distance, half of the heads, nothing recycled."""
        keep = budget_schedule(keep, PLUS, BOUNDARIES) if isinstance(keep, int) else keep
        version2 = {"recycle": False, "decay": "guarded", "heads": 0.5, "positions": "keep"}
        return cls(**{"keep": keep, **version2, **changes})

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """Per boundary the tokens that stay and those that are recycled from the dropped ones."""
        stages, here = [], visual_tokens
        for stage in super().plan(num_layers, visual_tokens):
            merged = clusters_of(here - stage.count) if self.recycle and stage.count < here else 0
            here = min(here, stage.count + merged)
            stages.append(replace(stage, count=here, merged=merged, at_most=self.budget == "rank"))
        return tuple(stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The instruction's rows, its embeddings beside the image's, and the distances of what is recycled."""
        readings, before = [], 1.0
        for reading, (_, ratio) in zip(
            super().reads_at(num_layers), self.schedule(num_layers), strict=True
        ):
            pairs = (0.3 * (1 - ratio / before)) ** 2 if self.recycle else 0.0
            before = ratio
            similarity: Literal["features"] | None = "features" if pairs else None
            readings.append(replace(reading, embeddings=True, similarity=similarity, pairs=pairs))
        return tuple(readings)

    def scaled_by(self, factor: float) -> SparseVLM:
        """By rank, it is what the rank is multiplied with that says how much stays."""
        if self.budget == "fixed" or not factor > 0:
            return super().scaled_by(factor)
        return replace(
            self, rank_scale=self.rank_scale * factor, rank_offset=self.rank_offset * factor
        )

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean attention of the raters, over the heads that look at the image most."""
        return {"score": self._rated(view).mean(dim=(0, 1))}  # [H, R, N] -> [N]

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The best-rated tokens, and the recycled ones at their clusters' centres."""
        rated, total = self._rated(view), len(view.candidates)
        scores = {"score": rated.mean(dim=(0, 1))}
        kept = view.count - view.merged
        if self.budget == "rank":
            rank = int(torch.linalg.matrix_rank(rated.mean(dim=0)))
            kept = max(1, min(int(rank * self.rank_scale + self.rank_offset), kept, total))
        best = select_top(scores["score"], kept)
        room = min(clusters_of(total - kept), view.count - kept)
        if kept >= total or not self.recycle or room < 1:
            return Selection(best, scores=scores)
        left = (
            torch.ones(total, dtype=torch.bool, device=best.device)
            .index_fill(0, best, False)
            .nonzero()
            .flatten()
        )
        pool = left[select_top(scores["score"][left], count_kept(len(left), 0.3) + 1)]
        centres, group = density_peaks(view.hidden[pool], room, self._noise(view, pool))
        keep = torch.cat([best, pool[centres]])
        merged = group_mean(view.hidden[pool], group, len(centres)).to(view.hidden.dtype)
        order = keep.argsort()
        return Selection(keep[order], torch.cat([view.hidden[best], merged])[order], scores)

    def _rated(self, view: LayerView) -> Tensor:
        """Attention of the raters to the visual tokens. -> [H, R, N]."""
        raters = find_raters(*view.embeddings)
        attention = view.attention("instruction")[:, raters]
        if self.heads < 1:
            most = select_top(attention.sum(dim=(1, 2)), max(1, round(self.heads * len(attention))))
            attention = attention[most]
        if self.decay == "off":
            return attention
        decay = view.rotary_decay("instruction")[raters]
        return attention / (decay.clamp(min=FLOOR) if self.decay == "guarded" else decay)

    def _noise(self, view: LayerView, pool: Tensor) -> Tensor | None:
        if self.seed is None:
            return None
        draw = torch.rand(
            int(view.candidates.max()) + 1, generator=torch.Generator().manual_seed(self.seed)
        )
        return draw.to(pool.device)[view.candidates[pool]] * 1e-6


def find_raters(visual: Tensor, instruction: Tensor) -> Tensor:
    """Instruction tokens that match the image better than the average one. [N, D], [T, D] -> ascending long [R]."""
    match = (
        (visual.float() @ instruction.float().T).softmax(dim=1).mean(dim=0)
    )  # over the words of each visual token
    raters = (match > match.mean()).nonzero().flatten()
    return (
        raters if len(raters) else torch.arange(len(match), device=match.device)
    )  # all alike, as a single word is


def clusters_of(dropped: int) -> int:
    """Tokens recycled from `dropped` ones: a tenth of 30 %, and one."""
    return (count_kept(dropped, 0.3) + 1) // 10 + 1
