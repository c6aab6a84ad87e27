"""PruMerge and PruMerge+: outliers of the CLS attention, which absorb their nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import cosine_matrix, others, select_even, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.rows import to_device
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_count, check_flag, check_keep, resolve_count
from transprune.methods.common.method import Fidelity, Positions, ProjectorPruner
from transprune.methods.common.projector import (
    keep_all_if_fits,
    merge_into,
    pre_projector_rows,
    split_budget,
    to_feature_space,
)
from transprune.methods.common.recipe import register

# `spread` -> the share that the paper reports for the adaptive budget
AVERAGE = {False: 0.055, True: 0.25}


@register("prumerge")
@dataclass(frozen=True)
class PruMerge(ProjectorPruner):
    """Keep the patches whose CLS attention is an outlier, and merge neighbours into each.

    Shang et al., LLaVA-PruMerge, ICCV 2025. https://arxiv.org/abs/2403.15388

    Attention and keys are those of the layer behind the one that gives the features, all heads as
    one; the nearest are found by keys. Each kept patch becomes x_i + sum_j c_j x_j over its
    neighbours (kept ones too) with c the CLS attention: the weights are tiny, as in the code. One
    more token gathers c_j x_j of everything that goes; it takes the place of the last patch that
    goes. Where nothing goes there is none. PruMerge+ adds patches at even distances. Without a CLS
    token, which the authors leave undefined, c is the mean attention a patch receives. The paper's
    headline is with fine-tuning; this is the training-free form.

    Args:
        keep: None lets the picture decide, as in the paper: the patches above Q3 + 1.5 IQR, on
            average 5.5 % (plus: 25 %). An int (count) or a float (share) fixes the number instead;
            the code has 1/8.
        spread: PruMerge+, which adds patches at even distances: three for each outlier in the
            paper; of a fixed number they are three quarters.
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
    fidelity: ClassVar[Fidelity] = "exact"
    presets: ClassVar[tuple[str, ...]] = ("plus",)
    differs_from_code: ClassVar[str] = (
        "tokens stay in raster order instead of by attention; at least one outlier, and strides "
        "above 1 that include the last patch, where the code crashes or stops short; a fixed "
        "number counts the token of the rest (the code adds it: 73 rows of 576 at 1/8), and "
        "PruMerge+ spreads three quarters of it (the code takes half as outliers and half at even "
        "distances, some of them twice); one pool per sample"
    )
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Reads(vision=("outer_saliency", "outer_keys"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None:
            check_keep("keep", self.keep)
        check_flag("spread", self.spread)
        check_count("neighbours", self.neighbours, "a number of patches", least=0)

    @classmethod
    def plus(cls, **changes: Any) -> PruMerge:
        """PruMerge+."""
        return cls(**{"spread": True, **changes})

    def count(self, visual_tokens: int) -> int:
        """The fixed number, or the upper bound: N/4 patches above Q3, and one merged token."""
        if self.keep is not None:
            return resolve_count(self.keep, visual_tokens)
        if self.spread:
            return visual_tokens

        return min(visual_tokens, visual_tokens // 4 + 2)

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage at boundary 0, an upper bound where the picture decides."""
        stages = super().plan(num_layers, visual_tokens)
        return tuple(replace(stage, at_most=self.keep is None) for stage in stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """All keys are compared, at the tower's full width.

        The cost model counts the width of the language model instead, an upper bound.
        """
        return (Reading(0, similarity="features"),)

    def scaled_by(self, factor: float) -> PruMerge:
        """A fixed number; an adaptive budget is taken at the paper's average."""
        fixed = replace(self, keep=self.keep or AVERAGE[self.spread])
        return super(PruMerge, fixed).scaled_by(factor)

    def select(self, view: ProjectorView) -> Selection:
        """Kept patches with what they absorb, and one token of all the rest."""
        vision = view.vision
        scores = {"score": vision["outer_saliency"]}
        fixed = self.keep is not None
        whole = keep_all_if_fits(view, scores) if fixed else None
        if whole is not None:
            return whole

        patches, newlines = split_budget(vision, view.count if fixed else 0)
        c = vision["outer_saliency"][patches]  # [n], n patches
        values = pre_projector_rows(view, vision)[patches]  # [n, V]
        # how many patches are outliers only the device knows: it is asked once, for everything
        known = c if fixed else c.cpu()
        kept = to_device(self._choose(known, view.count - len(newlines)), c.device)

        merged = self._absorb(kept, c, values, vision["outer_keys"][patches])

        # one more token for the weighted sum of everything that goes
        gone = others(len(c), kept)
        if len(kept) + len(newlines) < view.count and len(gone):
            rest = (c[gone][:, None] * values[gone]).sum(dim=0, keepdim=True)  # [1, V]
            kept = torch.cat([kept, gone[-1:]])
            merged = torch.cat([merged, rest])

        slots = patches[kept]
        rows = to_feature_space(view, vision, merged)
        return merge_into(view, torch.cat([slots, newlines]), [(slots, rows)], scores)

    def _choose(self, c: Tensor, count: int) -> Tensor:
        """Patches that stay, ascending long: at most `count`, less one token for the rest.

        Nothing is set aside for the rest where all patches stay.
        """
        room = max(1, min(count, len(c)) - 1)
        outliers = self._outliers(c, room)
        chosen = select_top(c, min(outliers, room))
        if not self.spread:
            return chosen

        # PruMerge+: more patches at even distances
        left = others(len(c), chosen)
        if self.keep is None:
            left = left[self._on_stride(left, len(c), outliers)]
            # with stride 1 and the last patch an outlier all stay: there is no rest
            if len(chosen) + len(left) < len(c) or count < len(c):
                left = left[: room - len(chosen)]
        else:
            left = left[select_even(len(left), room - len(chosen), left.device)]

        return torch.cat([chosen, left]).sort().values

    def _on_stride(self, patches: Tensor, total: int, outliers: int) -> Tensor:
        """Which of `patches` lie on the stride that takes three for each outlier. -> bool [n]."""
        stride = max(1, total // outliers // 3)
        if stride == 1:
            return patches < total - 1  # the code's strides stop before the last patch

        return patches % stride == 0

    def _outliers(self, c: Tensor, room: int) -> int:
        """How many patches count as outliers of the attention `c` [n]; at least one."""
        if self.keep is None:
            q1, q3 = torch.quantile(c, c.new_tensor([0.25, 0.75]))
            return max(1, int((c > q3 + 1.5 * (q3 - q1)).sum()))

        # of a fixed number PruMerge+ spreads three quarters
        return max(1, round(room / 4)) if self.spread else room

    def _absorb(self, kept: Tensor, c: Tensor, values: Tensor, keys: Tensor) -> Tensor:
        """x_i + sum_j c_j x_j over the nearest neighbours j of each kept patch i. -> [K, V]."""
        similarity = cosine_matrix(keys[kept], keys)  # [K, n]
        without_itself = similarity.scatter(1, kept[:, None], float("-inf"))
        near = without_itself.topk(min(self.neighbours, len(c) - 1)).indices  # [K, 32]

        weighted = c[near][..., None] * values[near]  # [K, 32, V]
        return values[kept] + weighted.sum(dim=1)  # [K, V] + [K, 32, V] -> [K, V]
