"""PACT: drop what no query wants, merge what is alike, and let merged tokens weigh as much as they stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.cluster import density_cover
from transprune.algebra.select import group_mean, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.errors import MethodError
from transprune.methods.common.method import LayerPruner, Positions, check_flag, check_ratio
from transprune.methods.common.recipe import register


@register("pact")
@dataclass(frozen=True)
class PACT(LayerPruner):
    """Prune by the mean query's attention times the state's norm, then merge what is left by density of the keys.

    Dhouib et al., PACT, CVPR 2025. https://arxiv.org/abs/2504.08966

    Both read the keys of the layer behind the boundary. The score (EUTI) uses them without positions, which is the
    paper's answer to positional bias; the clustering (DBDPC) uses rotated ones. A cluster becomes the mean of its
    members at its centre's place, and later queries add log(size) to its logits (proportional attention), also while
    decoding. How many clusters there are depends on the image: the plan and the cost are upper bounds.

    Args:
        layer: so many layers see every token. Not scaled with depth (4 of 28 and of 32 in the paper). Default 4.
        keep_ratio: share of the visual tokens that is not dropped, before merging. Default 0.55.
        cutoff: cosine distance within which a centre absorbs others; 0 merges nothing. Default 0.21.
        recover: dropped tokens nearer than `recover * cutoff` to a centre join its mean. Default 1.5.
        proportional: whether merged tokens weigh by their size. Default True. Needs eager or SDPA attention.
        positions: default `"keep"`, as in the code: a cluster has the position of its centre.

    Raises:
        MethodError, ScheduleError: a layer below 1, a ratio outside (0, 1], a negative distance or factor.
        LayoutError: when proportional attention runs under FlashAttention, which takes no bias.
    """

    layer: int = 4
    keep_ratio: float = 0.55
    cutoff: float = 0.21
    recover: float = 1.5
    proportional: bool = True

    title: ClassVar[str] = "PACT: mean query and norm, then density clusters that weigh by size"
    paper: ClassVar[str] = "Dhouib et al., CVPR 2025, arXiv 2504.08966"
    differs_from_code: ClassVar[str] = (
        "equal scores go to the lower index, where the code tops up at random"
    )
    default_positions: ClassVar[Positions] = "keep"
    reads: ClassVar[Reads] = Reads(rows="mean")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)
        if isinstance(self.layer, bool) or not isinstance(self.layer, int) or self.layer < 1:
            raise MethodError(
                f"layer is the number of layers that see every token, at least 1; got {self.layer!r}"
            )
        for name in ("cutoff", "recover"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not 0 <= value < float("inf")
            ):
                raise MethodError(f"{name} is a number from 0 on; got {value!r}")
        check_flag("proportional", self.proportional)

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, `layer`."""
        return Schedule({self.layer: self.keep_ratio})

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """At most the tokens that are not dropped; merging leaves fewer."""
        return tuple(
            replace(stage, at_most=self.cutoff > 0)
            for stage in super().plan(num_layers, visual_tokens)
        )

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """One query, and the distances of what is left from everything."""
        compared = {"similarity": "layer_keys", "pairs": self.keep_ratio} if self.cutoff else {}
        return tuple(replace(reading, **compared) for reading in super().reads_at(num_layers))  # type: ignore[arg-type]

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean over heads of the mean query's softmax over the visual tokens, times the norm of their states."""
        keys = view.keys(rotated=False)  # [Hkv, N, d]
        query = view.mean_query().unflatten(0, (keys.shape[0], -1))  # [Hkv, G, d]
        wanted = (
            (query @ keys.mT / keys.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=(0, 1))
        )  # [Hkv, G, N] -> [N]
        return {"score": wanted * torch.linalg.vector_norm(view.hidden.float(), dim=-1)}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The centres of the clusters, with the means and the log sizes of their members."""
        scores = self.score(view, carry)
        kept = select_top(scores["score"], view.count)
        if not self.cutoff:
            return Selection(kept, scores=scores)
        keys = torch.nn.functional.normalize(
            view.keys(rotated=True).transpose(0, 1).flatten(1), dim=-1
        )  # [N, Hkv * d]
        centres, group = density_cover(1 - keys[kept] @ keys[kept].T, self.cutoff)
        centres, members = kept[centres], kept
        dropped = (
            torch.ones(len(keys), dtype=torch.bool, device=kept.device)
            .index_fill(0, kept, False)
            .nonzero()[:, 0]
        )
        if len(dropped):
            distance, nearest = (1 - keys[dropped] @ keys[centres].T).min(dim=1)
            back = distance < self.recover * self.cutoff
            members, group = torch.cat([kept, dropped[back]]), torch.cat([group, nearest[back]])
        if len(members) == len(centres):
            return Selection(centres, scores=scores)
        sizes = torch.bincount(group, minlength=len(centres)).float()
        means = group_mean(view.hidden[members], group, len(centres))
        return Selection(centres, means, scores, sizes.log() if self.proportional else None)
