"""SparseVLM: words that match the image rate its tokens; some rejected ones are recycled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.cluster import density_peaks
from transprune.algebra.select import group_mean, others, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.rows import upload
from transprune.core.schedule import Schedule, ScheduleLike, count_kept
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.errors import MethodError
from transprune.methods.common.budgets import budget_schedule
from transprune.methods.common.checks import (
    ORDERS,
    check_choice,
    check_count_or_share,
    check_number,
    is_count,
)
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner

# the code cuts after its 0-based layers 2, 6, 15, which still run on everything
BOUNDARIES = (3, 7, 16)

# budget -> tokens of 576 that stay at each boundary: version 1.5 of the code, and version 2
BUDGETS = {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)}
PLUS = {192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20)}

# where the first release cuts by rank; the rank says how much stays
RANK = Schedule({3: 1.0, 7: 1.0, 16: 1.0, 20: 1.0}, depth=32)

FLOOR = 0.1  # of the guarded decay: attention divided by it grows tenfold at most
RECYCLED = 0.3  # share of the dropped tokens that is recycled


@register("sparsevlm")
@dataclass(frozen=True)
class SparseVLM(ScheduledPruner):
    """Keep the tokens that visually relevant words attend to, and merge some of the rest.

    Zhang et al., SparseVLM, ICML 2025. https://arxiv.org/abs/2410.04417

    The raters are the instruction tokens whose embedding matches the visual embeddings better than
    average; the score is their mean attention in the layer in front of the boundary. Version 1.5 of
    the code is the default, `plus()` its version 2. A budget of 192 is the average per layer if the
    cutting layers are credited with the tokens they leave; 206.5 tokens are really processed.

    Args:
        keep: a budget (192, 128, 96, 64 as published, others between them), or boundary -> share of
            the original tokens. Default: 192, 300/200/110 of 576 at 3, 7, 16 of 32 layers. With
            `budget="rank"` upper bounds.
        budget: `"fixed"`, or `"rank"`: keep `rank(rater attention) * rank_scale + rank_offset`, as
            the first release did; its values were 13.5 and 0 (for 192), 9 and 6 (128), 0.8 and 0
            (64). A pool as large as its rank stays whole, as there.
        rank_scale: factor of the rank with `budget="rank"`. Default 13.5.
        rank_offset: tokens added to that product. Default 0.
        recycle: merge the best 30 % of the dropped tokens into a tenth as many.
        decay: divide the attention by the factor that distance alone gives it: `"off"`;
            `"guarded"`, by at least 0.1; `"released"`, by the raw value, as the code of version 2
            does although it may be negative.
        heads: how many heads score, those with the most attention to the image after the division
            by `decay`: a count from 2 on (all heads where there are fewer), or a share of the heads
            up to 1. Default 1.0, all; version 2: 14.
        order: `"official"` puts recycled tokens behind all kept ones, where positions are
            renumbered; `"in_place"` leaves each at the place of its cluster's centre.
        seed: of the noise (up to 1e-6) that decides between equally dense tokens; None for no
            noise.
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
    heads: int | float = 1.0
    seed: int | None = 0
    order: Literal["official", "in_place"] = "official"

    title: ClassVar[str] = "SparseVLM: rated by the words that match the image, the rest recycled"
    paper: ClassVar[str] = "Zhang et al., ICML 2025, arXiv 2410.04417"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "with positions kept a recycled token stays at its cluster's centre instead of behind all "
        "others; keeping everything is allowed (the code drops at least one); the guard of the decay is ours"
    )
    presets: ClassVar[tuple[str, ...]] = ("plus",)
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Reads(rows="instruction", source="previous", embeddings=True)

    def __post_init__(self) -> None:
        check_choice("budget", self.budget, ("fixed", "rank"))
        check_choice("decay", self.decay, ("off", "guarded", "released"))
        check_choice("order", self.order, ORDERS)
        check_count_or_share("heads", self.heads, "the heads")
        check_number("rank_scale", self.rank_scale, above=0)
        if self.seed is not None and not is_count(self.seed):
            raise MethodError(f"seed is an int or None; got {self.seed!r}")

        # the field holds the schedule from here on, so that `repr` and recipes show it
        keep = self.keep
        if keep is None:
            keep = RANK if self.budget == "rank" else 192
        if isinstance(keep, int):
            keep = budget_schedule(keep, BUDGETS, BOUNDARIES)

        object.__setattr__(self, "keep", keep)

        super().__post_init__()

    @classmethod
    def plus(cls, keep: ScheduleLike | int = 192, **changes: Any) -> SparseVLM:
        """Version 2 (SparseVLM+): its budgets, attention freed of distance, 14 heads.

        It recycles nothing.
        """
        if isinstance(keep, int):
            keep = budget_schedule(keep, PLUS, BOUNDARIES)

        version2 = {"recycle": False, "decay": "guarded", "heads": 14, "positions": "keep"}
        return cls(**{"keep": keep, **version2, **changes})

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """Per boundary the tokens that stay and those that are recycled from the dropped ones."""
        stages = []
        here = visual_tokens

        for stage in super().plan(num_layers, visual_tokens):
            merged = 0
            if self.recycle and stage.count < here:
                merged = clusters_of(here - stage.count)

            here = min(here, stage.count + merged)
            stages.append(replace(stage, count=here, merged=merged, at_most=self.budget == "rank"))

        return tuple(stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Rows of the instruction, embeddings of both, and distances between recycled tokens."""
        readings = []
        before = 1.0
        ratios = [ratio for _, ratio in self.schedule(num_layers)]

        for reading, ratio in zip(super().reads_at(num_layers), ratios, strict=True):
            dropped = 1 - ratio / before
            pairs = (RECYCLED * dropped) ** 2 if self.recycle else 0.0
            before = ratio

            # nothing is compared where nothing is recycled
            similarity: Literal["features"] | None = "features" if pairs else None
            readings.append(replace(reading, embeddings=True, similarity=similarity, pairs=pairs))

        return tuple(readings)

    def scaled_by(self, factor: float) -> SparseVLM:
        """With `budget="rank"` the factors of the rank are scaled, else the schedule."""
        if self.budget == "fixed" or not factor > 0:
            return super().scaled_by(factor)

        scale = self.rank_scale * factor
        return replace(self, rank_scale=scale, rank_offset=self.rank_offset * factor)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean attention of the raters, over the heads with the most attention to the image."""
        return {"score": _mean(*self._rated(view))}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The best-rated tokens, and the recycled ones at their clusters' centres."""
        rated, raters = self._rated(view)
        score = _mean(rated, raters)
        scores = {"score": score}

        total = len(view.candidates)
        count = self._count(view, rated, raters)
        best = select_top(score, count)

        # places for recycled tokens: as many as the planned budget leaves
        clusters = min(clusters_of(total - count), view.count - count)
        if count >= total or not self.recycle or clusters < 1:
            return Selection(best, scores=scores)

        # the best-rated part of the dropped tokens is clustered, and each cluster becomes its mean
        dropped = others(total, best)
        pool = dropped[select_top(score[dropped], count_kept(len(dropped), RECYCLED) + 1)]
        centres, group = density_peaks(view.hidden[pool], clusters, self._noise(view, pool))
        merged = group_mean(view.hidden[pool], group, len(centres)).to(view.hidden.dtype)

        # a recycled token takes the place of its cluster's centre, or the last of all
        keep = torch.cat([best, pool[centres]])  # [K]
        features = torch.cat([view.hidden[best], merged])  # [K, D]
        by_place = keep.argsort()
        own = by_place.argsort() if self.order == "official" else None
        return Selection(keep[by_place], features[by_place], scores, order=own)

    def _count(self, view: LayerView, rated: Tensor, raters: Tensor) -> int:
        """How many of the best-rated tokens stay; the rank of their attention may lower it."""
        count = view.count - view.merged
        if self.budget == "fixed":
            return count

        # the device is asked once: a rank computed there would wait as well
        attention = torch.cat([rated.mean(dim=0), raters[:, None]], dim=1).cpu()  # [T, N + 1]
        attention = attention[attention[:, -1] > 0, :-1]  # [R, N]
        if not bool(attention.isfinite().all()):
            return count  # what is not a number has no rank; the runtime warns of it

        rank = int(torch.linalg.matrix_rank(attention))
        if rank == len(view.candidates):
            return min(rank, count)  # as in the code, which skips such a pool

        by_rank = int(rank * self.rank_scale + self.rank_offset)
        return max(1, min(by_rank, count, len(view.candidates)))

    def _rated(self, view: LayerView) -> tuple[Tensor, Tensor]:
        """Attention of the instruction to the visual tokens, 0 for words that are no raters.

        -> [H, T, N], and which words are raters, bool [T]. How many they are only the device knows.
        """
        raters = find_raters(*view.embeddings)
        attention = view.attention("instruction")  # [H, T, N]

        if self.decay != "off":
            decay = view.rotary_decay("instruction")  # [T, N]
            if self.decay == "guarded":
                decay = decay.clamp(min=FLOOR)
            attention = attention / decay

        attention = attention.masked_fill(~raters[:, None], 0)

        # heads are compared by what is left once distance is out, as in the code
        heads = self._head_count(len(attention))
        if heads < len(attention):
            to_image = attention.sum(dim=(1, 2))  # [H, T, N] -> [H]
            attention = attention[select_top(to_image, heads)]

        return attention, raters

    def _head_count(self, total: int) -> int:
        """How many of `total` heads score: a count, or above 0 and up to 1 a share of them."""
        if self.heads > 1:
            return min(int(self.heads), total)
        return max(1, round(self.heads * total))

    def _noise(self, view: LayerView, pool: Tensor) -> Tensor | None:
        """Noise of the tokens in `pool`, by original number: the same for every batch and stage."""
        if self.seed is None:
            return None

        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.rand(view.numbers, generator=generator, dtype=torch.float32)
        return upload(draw.numpy(), pool.device)[view.candidates[pool]] * 1e-6


def find_raters(visual: Tensor, instruction: Tensor) -> Tensor:
    """Instruction tokens that match the image better than the average one.

    visual [N, D], instruction [T, D] -> bool [T]. Where all match alike, as a single word does, all
    are raters.
    """
    logits = visual.float() @ instruction.float().T  # [N, T]
    match = logits.softmax(dim=1).mean(dim=0)  # softmax over the words of each visual token -> [T]

    raters = match > match.mean()
    return raters | ~raters.any()


def _mean(rated: Tensor, raters: Tensor) -> Tensor:
    """Mean over heads and raters. [H, T, N], bool [T] -> [N]."""
    return rated.mean(dim=0).sum(dim=0) / raters.sum()


def clusters_of(dropped: int) -> int:
    """The number of tokens recycled from `dropped` ones: a tenth of 30 %, and one."""
    return (count_kept(dropped, RECYCLED) + 1) // 10 + 1
