"""PACT: drop tokens that get little attention, merge similar ones, weigh them by size."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.cluster import ROUNDS, Cover, cover
from transprune.algebra.select import count_members, group_mean, others, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.methods.common.checks import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_ratio,
)
from transprune.methods.common.method import Fidelity, LayerPruner, Positions
from transprune.methods.common.recipe import ADDED, register


@register("pact")
@dataclass(frozen=True)
class PACT(LayerPruner):
    """Prune by the mean query's attention times the state's norm, then merge by similar keys.

    Dhouib et al., PACT, CVPR 2025. https://arxiv.org/abs/2504.08966

    Both steps read the keys of the layer behind the boundary. The score (EUTI) uses them without
    positions, which is the paper's answer to positional bias; its mean query and its softmax take
    in every row up to the last visual token, as in the code. The clustering by density (DBDPC) uses
    rotated keys. A cluster becomes the mean of its members at its centre's place, and later queries
    add log(size) to its logits (proportional attention), also while decoding. How many clusters
    there are depends on the image: the plan and the cost are upper bounds.

    Args:
        layer: so many layers see every token. Not scaled with depth (4 of 28 and of 32 in the
            paper). Default 4.
        keep_ratio: share of the visual tokens that is not dropped, before merging. Default 0.55.
        cutoff: cosine distance within which a centre absorbs others; 0 merges nothing. Default
            0.21.
        recover: only tokens nearer than `recover * cutoff` to a centre join its mean, dropped ones
            as well as kept ones: below 1 some kept tokens go too. Default 1.5.
        proportional: whether merged tokens weigh by their size. Default True. Needs eager or SDPA
            attention.
        ties: which of several equally dense tokens is the densest, `"first"` (default) or `"last"`,
            as in the code.
        positions: default `"keep"`, as in the code: a cluster has the position of its centre.

    Raises:
        MethodError, ScheduleError: a layer below 1, a ratio outside (0, 1], a negative distance or
            factor.
        LayoutError: when proportional attention runs under FlashAttention, which takes no bias.
    """

    layer: int = 4
    keep_ratio: float = 0.55
    cutoff: float = 0.21
    recover: float = 1.5
    proportional: bool = True
    ties: Literal["first", "last"] = field(default="first", metadata=ADDED)

    title: ClassVar[str] = "PACT: mean query and norm, then density clusters that weigh by size"
    paper: ClassVar[str] = "Dhouib et al., CVPR 2025, arXiv 2504.08966"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "of equal scores and of equal densities the lower index comes first; in the code it is the "
        "higher one of equal densities (ties='last')"
    )
    default_positions: ClassVar[Positions] = "keep"
    reads: ClassVar[Reads] = Reads(rows="mean")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)
        check_count("layer", self.layer, "the number of layers that see every token")
        check_number("cutoff", self.cutoff)
        check_number("recover", self.recover)
        check_flag("proportional", self.proportional)
        check_choice("ties", self.ties, ("first", "last"))

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, `layer`."""
        return Schedule({self.layer: self.keep_ratio})

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """At most the tokens that are not dropped; merging leaves fewer."""
        stages = super().plan(num_layers, visual_tokens)
        return tuple(replace(stage, at_most=self.cutoff > 0) for stage in stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """One query, and the distances of the tokens that are left from all tokens."""
        readings = super().reads_at(num_layers)
        if not self.cutoff:
            return readings

        return tuple(
            replace(reading, similarity="layer_keys", pairs=self.keep_ratio) for reading in readings
        )

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean over heads of the mean query's attention to each visual token, times its norm.

        The softmax runs over all keys up to the last visual token: text in front of the image, and
        with it an attention sink, takes its part.
        """
        visual = view.keys(rotated=False)  # [Hkv, N, d]
        keys = torch.cat([visual, view.context_keys()], dim=1)  # [Hkv, N + M, d]

        # grouped-query attention: G query heads share one key head
        query = view.mean_query().unflatten(0, (keys.shape[0], -1))  # [H, d] -> [Hkv, G, d]

        logits = query @ keys.mT / keys.shape[-1] ** 0.5  # [Hkv, G, N + M]
        to_visual = logits.softmax(dim=-1)[..., : visual.shape[1]]
        attention = to_visual.mean(dim=(0, 1))  # [Hkv, G, N] -> [N]

        norm = torch.linalg.vector_norm(view.hidden.float(), dim=-1)  # [N, D] -> [N]
        return {"score": attention * norm}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The centres of the clusters, with the means and the log sizes of their members."""
        scores = self.score(view, carry)
        kept = select_top(scores["score"], view.count)
        if not self.cutoff:
            return Selection(kept, scores=scores)

        places, group, members = self._cluster(view, kept)
        centres = kept[places]

        # every token is its own cluster: there is nothing to merge
        if members == len(centres):
            return Selection(centres, scores=scores)

        # the last group is that of the tokens that belong to no cluster
        rows = view.hidden[torch.cat([kept, others(len(view.hidden), kept)])]
        means = group_mean(rows, group, len(centres) + 1)[:-1]  # [C, D]
        bias = None
        if self.proportional:
            sizes = count_members(group, len(centres) + 1)[:-1]
            bias = sizes.float().log()  # [C]

        return Selection(centres, features=means, scores=scores, key_bias=bias)

    def _cluster(self, view: LayerView, kept: Tensor) -> tuple[Tensor, Tensor, int]:
        """Clusters of the kept tokens, joined by the dropped ones that are near a centre.

        Kept tokens that are not near enough leave them, centres excepted.

        Returns:
            Places of the centres in `kept`, ascending [C] long; the number of the cluster of every
            token, C for none, the kept ones first and then the dropped ones [N] long; and how many
            tokens belong to a cluster.
        """
        # one unit vector per token, all key heads side by side
        keys = view.keys(rotated=True).transpose(0, 1).flatten(1)  # [Hkv, N, d] -> [N, Hkv * d]
        keys = torch.nn.functional.normalize(keys, dim=-1)

        # the kept tokens make the clusters
        distance = 1 - keys[kept] @ keys[kept].T  # [K, K]
        from_dropped = 1 - keys[others(len(keys), kept)] @ keys[kept].T  # [N - K, K]

        rounds = ROUNDS
        while True:
            found = cover(distance, self.cutoff, self.ties == "last", rounds)
            place, joined = self._join(found, distance, from_dropped)
            # how many clusters there are only the device knows: the one wait of this method
            numbers = torch.stack([found.unfinished, found.centre.sum(), joined.sum()])
            unfinished, clusters, members = numbers.tolist()
            if not unfinished:
                break

            rounds *= 4

        places, number = found.numbered(clusters)
        group = torch.cat([number, number[place[len(kept) :]]])
        return places, group.masked_fill(~joined, clusters), members

    def _join(self, found: Cover, distance: Tensor, from_dropped: Tensor) -> tuple[Tensor, Tensor]:
        """The place of each token's nearest centre [N] long, and which tokens join it, bool [N]."""
        limit = self.recover * self.cutoff

        # as in the code, `recover` below 1 takes tokens out again that a centre covered
        to_centre = distance.gather(1, found.nearest[:, None])[:, 0]  # [K, K] -> [K]
        stays = (to_centre < limit) | found.centre

        # dropped tokens near a centre come back into its mean
        to_centres = from_dropped.masked_fill(~found.centre, float("inf"))
        nearest = to_centres.min(dim=1)
        joined = torch.cat([stays, nearest.values < limit])
        return torch.cat([found.nearest, nearest.indices]), joined
