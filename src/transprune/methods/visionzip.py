"""VisionZip: dominant patches by the vision tower's own attention, the rest merged into a few contextual tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import assign_nearest, group_mean, rankable, select_top
from transprune.core.plan import Reading
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection, VisionSignals
from transprune.errors import ScheduleError
from transprune.methods.common.method import ProjectorPruner, check_keep, check_ratio, resolve_count
from transprune.methods.common.recipe import register


@register("visionzip")
@dataclass(frozen=True)
class VisionZip(ProjectorPruner):
    """Keep the patches the CLS token attends to, and merge all others into a few of their own by key similarity.

    Yang et al., CVPR 2025. https://arxiv.org/abs/2412.04467

    With a CLS token (CLIP towers) `keep` counts the projected CLS state too, as the paper's `dominant` does. Without
    one (Qwen2.5-VL) dominance is the mean attention a patch receives in the last full-attention block. A contextual
    token is its own feature plus the mean of those assigned to it, the released code's sum, not the group's mean;
    merged in front of the projector (CLIP) or behind it (Qwen2.5-VL), as in the codes for these models.

    Args:
        keep: tokens that stay, an int (count) or a float (share of the visual tokens). Default 192, the paper's
            162 dominant + 30 contextual.
        contextual: share of `keep` that is contextual. Default 5/32, the ratio of every published configuration.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 192
    contextual: float = 5 / 32

    title: ClassVar[str] = "VisionZip: dominant patches by CLS attention, the rest merged"
    paper: ClassVar[str] = "Yang et al., CVPR 2025, arXiv 2412.04467"
    differs_from_code: ClassVar[str] = (
        "contextual tokens stay at their own place instead of at the end; one pool per sample, so anyres tiles share "
        "the budget and newline tokens go first"
    )
    reads: ClassVar[Reads] = Reads(vision=("saliency", "keys"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)
        check_ratio("contextual", self.contextual)
        if self.contextual >= 1:
            raise ScheduleError(
                "contextual is a share of keep below 1; with 1 there would be no dominant token"
            )

    def count(self, visual_tokens: int) -> int:
        """Dominant, contextual and CLS tokens together."""
        return resolve_count(self.keep, visual_tokens)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The leftovers' keys are compared with the contextual tokens' keys."""
        return tuple(
            replace(reading, similarity="keys") for reading in super().reads_at(num_layers)
        )

    def select(self, view: ProjectorView) -> Selection:
        """Dominant patches, contextual patches with what they absorb, and a slot for the CLS state if there is one."""
        vision, total = view.vision, len(view.candidates)
        scores = {"score": vision["saliency"]}
        if view.count >= total:
            return Selection(torch.arange(total, device=view.candidates.device), scores=scores)
        slots_for_cls = 0 if vision.cls is None else min(len(vision.cls), view.count - 1)
        contextual = min(round(view.count * self.contextual), view.count - slots_for_cls - 1)
        contextual = max(0, contextual)
        dominant = select_top(vision["saliency"], view.count - slots_for_cls - contextual)

        left = torch.ones(total, dtype=torch.bool, device=dominant.device)
        left[dominant] = False
        rest = (
            (left & rankable(vision["saliency"]).isfinite()).nonzero().flatten()
        )  # newline tokens are never merged
        step = max(1, len(rest) // contextual) if contextual else 1
        targets = rest[::step][:contextual]
        left[targets] = False
        cls_slots = left.nonzero().flatten()[
            :slots_for_cls
        ]  # the CLS state borrows the first slots nobody else wants

        features = view.features.clone()
        if len(targets):
            members = rest[~torch.isin(rest, targets)]
            group = assign_nearest(vision["keys"][members], vision["keys"][targets])
            features[targets] = _merge(view.features, vision, targets, members, group).to(
                features.dtype
            )
        if vision.cls is not None and slots_for_cls:
            features[cls_slots] = vision.cls[:slots_for_cls].to(features.dtype)
        keep = torch.cat([dominant, targets, cls_slots]).sort().values
        return Selection(keep, features=features[keep], scores=scores)


def _merge(
    features: Tensor, vision: VisionSignals, targets: Tensor, members: Tensor, group: Tensor
) -> Tensor:
    """Each target plus the mean of its members: before the projector where it takes patches one by one. -> [T, D]."""
    if vision.states is None or vision.project is None:
        return features[targets] + group_mean(features[members], group, len(targets))
    merged = vision.states[targets] + group_mean(vision.states[members], group, len(targets))
    return vision.project(merged.to(vision.states.dtype))
