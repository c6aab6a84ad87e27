"""VisionZip: dominant patches by the tower's attention, the rest merged into a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.select import (
    assign_nearest,
    group_mean,
    others,
    rankable,
    select_top,
    unset,
)
from transprune.core.plan import Reading
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection, VisionSignals
from transprune.errors import ScheduleError
from transprune.methods.common.checks import ORDERS, check_choice, check_ratio
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.projector import (
    KeepPruner,
    Merged,
    keep_all_if_fits,
    merge_into,
    pre_projector_rows,
    to_feature_space,
)
from transprune.methods.common.recipe import register


@register("visionzip")
@dataclass(frozen=True)
class VisionZip(KeepPruner):
    """Keep the patches the CLS token attends to, and merge all others into a few of their own.

    Yang et al., CVPR 2025. https://arxiv.org/abs/2412.04467

    With a CLS token (CLIP towers) `keep` counts the projected CLS state too, as the paper's
    `dominant` does. Without one (Qwen2.5-VL) dominance is the mean attention a patch receives in
    the last full-attention block. Merging goes by key similarity. A contextual token is its own
    feature plus the mean of those assigned to it, the released code's sum, not the group's mean;
    merged in front of the projector (CLIP) or behind it (Qwen2.5-VL), as in the codes for these
    models.

    Args:
        keep: tokens that stay, an int (count) or a float (share of the visual tokens). Default 192,
            the paper's 162 dominant + 30 contextual.
        contextual: share of `keep` that is contextual. Default 5/32, the ratio of every published
            configuration.
        order: `"official"` puts the CLS state first and contextual tokens last, where positions are
            renumbered; `"in_place"` leaves each in the slot of a patch.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    contextual: float = 5 / 32
    order: Literal["official", "in_place"] = "official"

    title: ClassVar[str] = "VisionZip: dominant patches by CLS attention, the rest merged"
    paper: ClassVar[str] = "Yang et al., CVPR 2025, arXiv 2412.04467"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "with positions kept, contextual tokens stay at their own place instead of at the end, and "
        "a CLS state takes that of a patch; a budget for every patch changes nothing, where the "
        "code would still merge and put the CLS state in; one pool per sample, so "
        "anyres tiles share the budget and newline tokens go first"
    )
    default_positions: ClassVar[Positions] = "keep"
    reads: ClassVar[Reads] = Reads(vision=("saliency", "keys"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("contextual", self.contextual)
        check_choice("order", self.order, ORDERS)
        if self.contextual >= 1:
            raise ScheduleError(
                "contextual is a share of keep below 1; with 1 there would be no dominant token"
            )

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The leftovers' keys are compared with the contextual tokens' keys."""
        return (Reading(0, similarity="keys"),)

    def select(self, view: ProjectorView) -> Selection:
        """Dominant patches, contextual patches with merged ones, and slots for the CLS states."""
        vision = view.vision
        saliency = vision["saliency"]
        scores = {"score": saliency}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        # split the budget; at least one token is dominant
        cls_count = 0 if vision.cls is None else min(len(vision.cls), view.count - 1)
        contextual = round(view.count * self.contextual)
        contextual = max(0, min(contextual, view.count - cls_count - 1))
        # all that is neither CLS nor contextual
        dominant = select_top(saliency, view.count - cls_count - contextual)

        # of the other patches every so many-th is contextual; newline tokens (NaN) are never merged
        left = others(len(saliency), dominant)
        nowhere = ~rankable(saliency)[left].isfinite()
        # they rank last, so all patches are dominant before one of them is
        rest = left[unset(nowhere, max(0, len(vision.patches) - len(dominant)))]
        step = max(1, len(rest) // contextual) if contextual else 1
        targets = rest[::step][:contextual]

        # a CLS state has no place of its own: it takes the first slots that are still free
        cls_slots = others(len(saliency), torch.cat([dominant, targets]))[:cls_count]

        merged: list[Merged] = []
        if len(targets):
            merged.append((targets, _absorb(view, vision, rest, step, len(targets))))
        if vision.cls is not None:
            merged.append((cls_slots, vision.cls[: len(cls_slots)]))

        keep = torch.cat([cls_slots, dominant, targets])
        return merge_into(view, keep, merged, scores, own_order=self.order == "official")


def _absorb(
    view: ProjectorView, vision: VisionSignals, rest: Tensor, step: int, count: int
) -> Tensor:
    """Features of the contextual tokens: each plus the mean of its nearest patches. -> [T, D].

    `rest` are all patches that are not dominant; every `step`-th of them is contextual, the first
    `count` times.
    """
    chosen = torch.arange(0, step * count, step, device=rest.device)
    targets = rest[chosen]
    members = rest[others(len(rest), chosen)]
    group = assign_nearest(vision["keys"][members], vision["keys"][targets])
    # a patch of unknown attention belongs to no contextual token
    group = group.masked_fill(~vision["saliency"][members].isfinite(), count)

    # in front of the projector where it takes patches one by one
    rows = pre_projector_rows(view, vision)
    merged = rows[targets] + group_mean(rows[members], group, count + 1)[:-1]
    return to_feature_space(view, vision, merged)
