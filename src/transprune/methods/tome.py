"""ToMe: bipartite matching of similar tokens, as one reduction behind the vision tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import match_bipartite, others
from transprune.core.plan import Reading
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import (
    KeepPruner,
    keep_all_if_fits,
    merge_into,
    pre_projector_rows,
    split_budget,
    to_feature_space,
)
from transprune.methods.common.recipe import register


@register("tome")
@dataclass(frozen=True)
class ToMe(KeepPruner):
    """Merge the most similar patches into each other until the budget is met.

    Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023. https://arxiv.org/abs/2210.09461

    The paper merges inside every block of the tower; in a frozen tower that shifts the features, so
    here the same matching runs once behind it: tokens at even places find their most similar one at
    an odd place by the tower's keys (mean over heads), the best pairs merge into a mean weighted by
    size, and rounds follow (each at most halves the list) until the count is met. The merged token
    stands where its odd member stood.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 192; the paper has no
            setting for a language model.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    title: ClassVar[str] = "ToMe: bipartite merging behind the tower"
    paper: ClassVar[str] = "Bolya et al., ICLR 2023, arXiv 2210.09461"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "one reduction behind the tower and its budget, from the paper's matching of one block"
    )
    differs_from_code: ClassVar[str] = (
        "merges once behind the tower instead of in each of its blocks, without size in attention"
    )
    reads: ClassVar[Reads] = Reads(vision=("keys",))

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Half of the keys are compared with the other half, round by round."""
        return (Reading(0, similarity="keys", pairs=0.5),)

    def select(self, view: ProjectorView) -> Selection:
        """Size-weighted means in front of the projector, at the places of the tokens merged into.

        The score is the size of a token.
        """
        whole = keep_all_if_fits(view)
        if whole is not None:
            return whole

        vision = view.vision
        patches, newlines = split_budget(vision, view.count)
        # which pairs merge is a choice; gradients flow through the means only
        keys = vision["keys"][patches].float().detach()  # [n, d], n patches
        values = pre_projector_rows(view, vision)[patches]  # [n, V]

        place, sizes, values = merge_rounds(keys, values, view.count - len(newlines))
        slots = patches[place]
        score = torch.ones(len(view.candidates), dtype=torch.float32, device=keys.device)
        score = score.index_copy(0, slots, sizes[place])

        # a token that nothing merged into keeps its own feature
        alone = (sizes[place] == 1)[:, None]
        rows = to_feature_space(view, vision, values[place])
        rows = torch.where(alone, view.features[slots], rows)
        return merge_into(view, torch.cat([slots, newlines]), [(slots, rows)], {"score": score})


def merge_rounds(keys: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the most similar pairs, round by round, until `count` rows are left.

    Args:
        keys: float32 [n, d], compared by cosine.
        values: float32 [n, V].
        count: rows that stay.

    Returns:
        Places of the rows that stay, ascending [count] long, the size of every row [n] float32, and
        the size-weighted means of `values` at those places [n, V] float32.
    """
    sizes = torch.ones(len(keys), dtype=torch.float32, device=keys.device)
    place = torch.arange(len(keys), device=keys.device)

    while len(place) > count:
        even, odd = match_bipartite(keys[place], len(place) - count)
        source = place[even]
        target = place[odd]

        # a target may take in several sources: sum first, divide when all are in
        larger = sizes.index_add(0, target, sizes[source])
        keys = _merged(keys, sizes, larger, source, target)
        values = _merged(values, sizes, larger, source, target)

        sizes = larger
        place = place[others(len(place), even)]

    return place, sizes, values


def _merged(rows: Tensor, sizes: Tensor, larger: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Means of the rows [n, D] after one round; nothing is changed in place, for autograd."""
    weighted = rows * sizes[:, None]
    return weighted.index_add(0, target, weighted[source]) / larger[:, None]
