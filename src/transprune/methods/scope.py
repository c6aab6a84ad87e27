"""SCOPE: patches that the CLS token attends to and that cover the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from transprune.algebra.coverage import select_coverage
from transprune.algebra.select import cosine_matrix
from transprune.core.plan import Reading
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_number
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import (
    KeepPruner,
    keep_all_if_fits,
    pre_projector_rows,
    split_budget,
)
from transprune.methods.common.recipe import register

HIGHEST = 8.0  # a power; beyond it weights get lost in float32
TINY = 1e-30  # of an attention


@register("scope")
@dataclass(frozen=True)
class SCOPE(KeepPruner):
    """Take, one after another, the patch whose coverage gain times saliency is largest.

    Deng et al., "SCOPE: Saliency-Coverage Oriented Token Pruning for Efficient Multimodal LLMs",
    NeurIPS 2025. https://arxiv.org/abs/2510.24214

    A patch is covered as well as the chosen patch most similar to it covers it (cosine of the
    features in front of the projector, at first 0). The gain of a candidate is what it would add to
    the coverage of all patches; it is multiplied by its CLS attention to the power of alpha.
    Without a CLS token that is the mean attention a patch receives.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 192; tables of others
            also have 128 and 64 of 576.
        alpha: power of the attention, at most 8; 0 leaves coverage alone. Default 1.0, as in the
            authors' scripts.

    Raises:
        MethodError, ScheduleError: a power below 0 or above 8, a count below 1 or a share outside (0, 1].
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    alpha: float = 1.0

    title: ClassVar[str] = "SCOPE: coverage of all patches times CLS attention, greedily"
    paper: ClassVar[str] = "Deng et al., NeurIPS 2025, arXiv 2510.24214"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "formula and alpha from a summary of paper and scripts; which layer's features and "
        "attention, one pool for all crops, and what follows once nothing is gained are ours"
    )
    reads: ClassVar[Reads] = Reads(vision=("saliency",))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, most=HIGHEST)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """All patches are compared pairwise, and looked through once for each pick.

        The cost model counts the width of the language model, which is more than the tower's and
        the search together.
        """
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Greedy picks in raster order; the score is the weighted gain."""
        vision = view.vision
        saliency = vision["saliency"]
        whole = keep_all_if_fits(view, {"score": saliency})
        if whole is not None:
            return whole

        patches, newlines = split_budget(vision, view.count)
        similarity = cosine_matrix(pre_projector_rows(view, vision)[patches])  # [n, n]
        own = saliency[patches].float()
        # against the largest: probabilities to a high power would all be 0 in float32
        largest = own.nan_to_num(nan=0.0).amax().clamp(min=TINY)
        weight = (own / largest) ** self.alpha
        picks, gain = select_coverage(similarity, weight, view.count - len(newlines))

        score = torch.zeros(len(view.candidates), dtype=torch.float32, device=gain.device)
        score = score.index_copy(0, patches, gain)
        keep = torch.cat([patches[picks], newlines]).sort().values
        return Selection(keep, scores={"score": score})
