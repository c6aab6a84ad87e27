"""PruMerge and PruMerge+: outliers of the CLS attention, which absorb their nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import cosine_matrix, select_even, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MethodError
from transprune.methods.common.method import (
    Positions,
    ProjectorPruner,
    check_flag,
    check_keep,
    resolve_count,
)
from transprune.methods.common.projector import everything, metric, project, split_budget
from transprune.methods.common.recipe import register

AVERAGE = {False: 0.055, True: 0.25}  # shares the paper reports for the adaptive budget


@register("prumerge")
@dataclass(frozen=True)
class PruMerge(ProjectorPruner):
    """Keep the patches whose CLS attention is an outlier, and add to each a little of its 32 nearest by keys.

    Shang et al., LLaVA-PruMerge, ICCV 2025. https://arxiv.org/abs/2403.15388

    Attention and keys are those of the layer behind the one that gives the features, all heads as one. Each kept patch
    becomes x_i + sum_j c_j x_j over its neighbours (kept ones too) with c the CLS attention: the weights are tiny, as
    in the code. One more token gathers c_j x_j of everything that goes; it takes the place of the last patch that goes.
    PruMerge+ adds patches at even distances. Without a CLS token, which the authors leave undefined, c is the mean
    attention a patch receives. The paper's headline is with fine-tuning; this is the training-free form.

    Args:
        keep: None lets the picture decide, as in the paper: the patches above Q3 + 1.5 IQR, on average 5.5 % (plus:
            25 %). An int (count) or a float (share) fixes the number instead; the code has 1/8.
        spread: PruMerge+, which adds patches at even distances: three for each outlier in the paper; of a fixed number
            they are three quarters.
        neighbours: patches each kept one absorbs. Default 32.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float | None = None
    spread: bool = False
    neighbours: int = 32

    title: ClassVar[str] = "PruMerge: outliers of CLS attention, neighbours merged in"
    paper: ClassVar[str] = "Shang et al., ICCV 2025, arXiv 2403.15388"
    presets: ClassVar[tuple[str, ...]] = ("plus",)
    differs_from_code: ClassVar[str] = (
        "tokens stay in raster order instead of by attention; at least one outlier, and strides that include the last "
        "patch, where the code crashes or stops short; one pool per sample"
    )
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Reads(vision=("outer_saliency", "outer_keys"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None:
            check_keep("keep", self.keep)
        check_flag("spread", self.spread)
        if (
            isinstance(self.neighbours, bool)
            or not isinstance(self.neighbours, int)
            or self.neighbours < 0
        ):
            raise MethodError(f"neighbours is a number of patches; got {self.neighbours!r}")

    @classmethod
    def plus(cls, **changes: Any) -> PruMerge:
        """PruMerge+."""
        return cls(**{"spread": True, **changes})

    def count(self, visual_tokens: int) -> int:
        """The fixed number, or the most there can be: a quarter lies above Q3, and one token gathers the rest."""
        if self.keep is not None:
            return resolve_count(self.keep, visual_tokens)
        return visual_tokens if self.spread else min(visual_tokens, visual_tokens // 4 + 2)

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage at boundary 0, an upper bound where the picture decides."""
        return tuple(
            replace(s, at_most=self.keep is None) for s in super().plan(num_layers, visual_tokens)
        )

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """All keys are compared at the tower's full width; the language model's bounds it from above."""
        return (Reading(0, similarity="features"),)

    def scaled_by(self, factor: float) -> PruMerge:
        """A fixed number; an adaptive budget is taken at the paper's average."""
        return super(PruMerge, replace(self, keep=self.keep or AVERAGE[self.spread])).scaled_by(
            factor
        )

    def select(self, view: ProjectorView) -> Selection:
        """Kept patches with what they absorb, and one token of all the rest."""
        vision = view.vision
        saliency = vision["outer_saliency"]
        if self.keep is not None and (whole := everything(view)) is not None:
            return Selection(whole.keep, scores={"score": saliency})
        patches, others = split_budget(vision, view.count if self.keep is not None else 0)
        c, values = saliency[patches], metric(view, vision)[patches]
        kept = self._choose(c, view.count - len(others))
        keys = vision["outer_keys"][patches]
        near = cosine_matrix(keys[kept], keys)
        near = (
            near.scatter(1, kept[:, None], float("-inf"))
            .topk(min(self.neighbours, len(c) - 1))
            .indices
        )
        merged = values[kept] + (c[near][..., None] * values[near]).sum(
            dim=1
        )  # [K, V] + [K, 32, V] -> [K, V]
        gone = (
            torch.ones(len(c), dtype=torch.bool, device=c.device)
            .index_fill(0, kept, False)
            .nonzero()
            .flatten()
        )
        if len(kept) + len(others) < view.count and len(gone):
            rest = (c[gone][:, None] * values[gone]).sum(dim=0, keepdim=True)
            kept, merged = torch.cat([kept, gone[-1:]]), torch.cat([merged, rest])
        features = view.features.clone()
        features[patches[kept]] = project(view, vision, merged).to(features.dtype)
        keep = torch.cat([patches[kept], others]).sort().values
        return Selection(keep, features=features[keep], scores={"score": saliency})

    def _choose(self, c: Tensor, count: int) -> Tensor:
        """Which of the patches [n] stay themselves: at most `count`, one place left for the rest. -> sorted long."""
        room = max(1, min(count, len(c)) - 1)
        if self.keep is None:
            quartile = torch.quantile(c, torch.tensor([0.25, 0.75], device=c.device))
            outliers = max(1, int((c > quartile[1] + 1.5 * (quartile[1] - quartile[0])).sum()))
            stride = max(1, len(c) // outliers // 3)
        else:
            outliers = max(1, round(room / 4)) if self.spread else room
        chosen = select_top(c, min(outliers, room))
        if not self.spread:
            return chosen
        left = (
            torch.ones(len(c), dtype=torch.bool, device=c.device)
            .index_fill(0, chosen, False)
            .nonzero()
            .flatten()
        )
        if self.keep is None:
            left = left[left % stride == 0][: room - len(chosen)]
        else:
            left = left[select_even(len(left), room - len(chosen), left.device)]
        return torch.cat([chosen, left]).sort().values
