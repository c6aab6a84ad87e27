"""VisPruner: important patches by CLS attention, and of the rest the least duplicated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import cosine_matrix, rankable, select_top
from transprune.core.plan import Reading
from transprune.core.schedule import count_kept
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import ScheduleError
from transprune.methods.common.projector import KeepPruner, everything, metric, split_budget
from transprune.methods.common.recipe import register


@register("vispruner")
@dataclass(frozen=True)
class VisPruner(KeepPruner):
    """Keep the patches the CLS token attends to, and fill up with the most diverse of the others.

    Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs", ICCV 2025.
    https://arxiv.org/abs/2412.01818

    The others are listed by falling attention. Round by round, each at an even place is compared (cosine of the
    features in front of the projector) with all at odd places, and the up to `step` most similar are deleted, until the
    budget is met. The released code crashes when that list has an odd length; here the even places are simply one more.
    Without a CLS token importance is the mean attention a patch receives (authors, issue 1 of their repository; they
    read SigLIP's last layer, here it is the layer that gives the features).

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 128, as in the authors' README.
        important: share of `keep` chosen by attention, rounded down. Default 0.5; the README uses 0.75 for 64.
        step: deletions per round. Default 8, as in the code.

    Raises:
        ScheduleError: a count below 1, a share outside (0, 1], `important` outside [0, 1], or `step` below 1.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 128
    important: float = 0.5
    step: int = 8

    title: ClassVar[str] = "VisPruner: CLS attention, then the least duplicated"
    paper: ClassVar[str] = "Zhang et al., ICCV 2025, arXiv 2412.01818"
    differs_from_code: ClassVar[str] = (
        "one pool per sample: anyres tiles share the budget, and newline tokens go first"
    )
    reads: ClassVar[Reads] = Reads(vision=("saliency",))

    def __post_init__(self) -> None:
        super().__post_init__()
        number = isinstance(self.important, (int, float)) and not isinstance(self.important, bool)
        if not number or not 0 <= self.important <= 1:
            raise ScheduleError(
                f"important is a share of keep and must lie in [0, 1]; got {self.important!r}"
            )
        if isinstance(self.step, bool) or not isinstance(self.step, int) or self.step < 1:
            raise ScheduleError(
                f"step is the number of deletions per round, at least 1; got {self.step!r}"
            )

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """All that is not important is compared pairwise; the language model's width bounds the tower's from above."""
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Important and diverse patches, in raster order."""
        vision = view.vision
        saliency = vision["saliency"]
        if (whole := everything(view)) is not None:
            return Selection(whole.keep, scores={"score": saliency})
        patches, others = split_budget(vision, view.count)
        budget = view.count - len(others)
        important = patches[
            select_top(saliency[patches], count_kept(budget, float(self.important)))
        ]
        rest = patches[~torch.isin(patches, important)]
        rest = rest[rankable(saliency[rest]).argsort(descending=True, stable=True)]
        left = drop_duplicates(metric(view, vision)[rest], budget - len(important), self.step)
        keep = torch.cat([important, rest[left], others]).sort().values
        return Selection(keep, scores={"score": saliency})


def drop_duplicates(features: Tensor, k: int, step: int = 8) -> Tensor:
    """Delete the most duplicated of an ordered list until `k` are left. [R, D] -> [k] long, positions in the list.

    In each round every element at an even place takes its largest cosine to one at an odd place; the up to `step`
    largest are deleted, and the list goes on as the other even ones by falling similarity, then all odd ones.

    Source: VisPruner, section 3.3.
    """
    similarity = cosine_matrix(features)
    order = torch.arange(len(features), device=features.device)
    while len(order) > k:
        even, odd = order[0::2], order[1::2]
        if len(odd) == 0:  # one element, and none may stay
            return order[:k]
        closest = similarity[even][:, odd].amax(dim=1)
        ranked = closest.argsort(descending=True, stable=True)
        order = torch.cat([even[ranked[min(step, len(order) - k, len(even)) :]], odd])
    return order
