"""ToMe: bipartite matching of similar tokens, as one reduction behind the vision tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from transprune.algebra.select import match_bipartite
from transprune.core.plan import Reading
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.projector import (
    KeepPruner,
    everything,
    metric,
    project,
    split_budget,
)
from transprune.methods.common.recipe import register


@register("tome")
@dataclass(frozen=True)
class ToMe(KeepPruner):
    """Merge the most similar patches into each other until the budget is met.

    Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023. https://arxiv.org/abs/2210.09461

    The paper merges inside every block of the tower; in a frozen tower that shifts the features, so here the same
    matching runs once behind it: tokens at even places find their most similar one at an odd place by the tower's keys
    (mean over heads), the best pairs merge into a mean weighted by size, and rounds follow (each at most halves the
    list) until the count is met. The merged token stands where its odd member stood.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 192; the paper has no setting for a language
            model.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    title: ClassVar[str] = "ToMe: bipartite merging behind the tower"
    paper: ClassVar[str] = "Bolya et al., ICLR 2023, arXiv 2210.09461"
    differs_from_code: ClassVar[str] = (
        "merges once behind the tower instead of in each of its blocks, without size in attention"
    )
    reads: ClassVar[Reads] = Reads(vision=("keys",))

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Half of the keys are compared with the other half, round by round."""
        return (Reading(0, similarity="keys", pairs=0.5),)

    def select(self, view: ProjectorView) -> Selection:
        """Size-weighted means in front of the projector, at the places of the tokens merged into."""
        if (whole := everything(view)) is not None:
            return whole
        vision = view.vision
        patches, others = split_budget(vision, view.count)
        keys, values = vision["keys"][patches].float(), metric(view, vision)[patches]
        sizes = torch.ones(len(patches), device=keys.device)
        place = torch.arange(len(patches), device=keys.device)
        while len(place) > view.count - len(others):
            source, target = match_bipartite(keys[place], len(place) - (view.count - len(others)))
            source, target = place[source], place[target]
            for rows in (keys, values):  # sums first, divided when all are in
                rows *= sizes[:, None]
                rows.index_add_(0, target, rows[source])
            sizes.index_add_(0, target, sizes[source])
            for rows in (keys, values):
                rows /= sizes[:, None]
            place = place[~torch.isin(place, source)]
        features = view.features.clone()
        merged = place[sizes[place] > 1]
        features[patches[merged]] = project(view, vision, values[merged]).to(features.dtype)
        keep = torch.cat([patches[place], others]).sort().values
        size = torch.ones(len(features), device=keys.device).index_copy(
            0, patches[place], sizes[place]
        )
        return Selection(keep, features=features[keep], scores={"score": size})
