"""VisPruner: important patches by CLS attention, and of the rest the least duplicated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import cosine_matrix, others, rankable, select_top
from transprune.core.plan import Reading
from transprune.core.schedule import count_kept
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import ScheduleError
from transprune.methods.common.checks import check_count, check_share
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import (
    KeepPruner,
    keep_all_if_fits,
    pre_projector_rows,
    split_budget,
)
from transprune.methods.common.recipe import register


@register("vispruner")
@dataclass(frozen=True)
class VisPruner(KeepPruner):
    """Keep the patches the CLS token attends to, and fill up with the most diverse of the others.

    Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning
    in VLMs", ICCV 2025. https://arxiv.org/abs/2412.01818

    The others are listed by falling attention. Round by round, each at an even place is compared
    (cosine of the features in front of the projector) with all at odd places, and the up to `step`
    most similar are deleted, until the budget is met. The released code crashes when that list has
    an odd length; here the even places are simply one more. Without a CLS token importance is the
    mean attention a patch receives (authors, issue 1 of their repository; they read SigLIP's last
    layer, here it is the layer that gives the features).

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 128, as in the authors'
            README.
        important: share of `keep` chosen by attention, rounded down. Default 0.5; the README uses
            0.75 for 64.
        step: deletions per round. Default 8, as in the code.

    Raises:
        ScheduleError: a count below 1, a share outside (0, 1], `important` outside [0, 1], or
            `step` below 1.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 128
    important: float = 0.5
    step: int = 8

    title: ClassVar[str] = "VisPruner: CLS attention, then the least duplicated"
    paper: ClassVar[str] = "Zhang et al., ICCV 2025, arXiv 2412.01818"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "one pool per sample: anyres tiles share the budget, and newline tokens go first"
    )
    reads: ClassVar[Reads] = Reads(vision=("saliency",))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("important", self.important, "is a share of keep", ScheduleError)
        check_count("step", self.step, "the number of deletions per round", error=ScheduleError)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """All unimportant patches are compared pairwise.

        The cost model counts the width of the language model, an upper bound of the tower's.
        """
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Important and diverse patches, in raster order."""
        vision = view.vision
        saliency = vision["saliency"]
        scores = {"score": saliency}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        patches, newlines = split_budget(vision, view.count)
        budget = view.count - len(newlines)

        # the important ones by attention
        count = count_kept(budget, float(self.important))
        best = select_top(saliency[patches], count)
        important = patches[best]

        # the others by falling attention, until the most duplicated are deleted
        rest = patches[others(len(patches), best)]
        rest = rest[rankable(saliency[rest]).argsort(descending=True, stable=True)]
        rows = pre_projector_rows(view, vision)[rest]  # [R, V]
        diverse = rest[drop_duplicates(rows, budget - len(important), self.step)]

        keep = torch.cat([important, diverse, newlines]).sort().values
        return Selection(keep, scores=scores)


def drop_duplicates(features: Tensor, k: int, step: int = 8) -> Tensor:
    """Delete the most duplicated of an ordered list until `k` are left.

    [R, D] -> [k] long, positions in the list. In each round every element at an even place takes
    its largest cosine to one at an odd place; the up to `step` largest are deleted, and the list
    goes on as the other even ones by falling similarity, then all odd ones.

    Source: VisPruner, section 3.3.
    """
    similarity = cosine_matrix(features)  # [R, R]
    order = torch.arange(len(features), device=features.device)

    while len(order) > k:
        even = order[0::2]
        odd = order[1::2]
        if len(odd) == 0:  # one element, and none may stay
            return order[:k]

        closest = similarity[even][:, odd].amax(dim=1)  # [R / 2, R / 2] -> [R / 2]
        ranked = closest.argsort(descending=True, stable=True)

        deleted = min(step, len(order) - k, len(even))
        order = torch.cat([even[ranked[deleted:]], odd])

    return order
