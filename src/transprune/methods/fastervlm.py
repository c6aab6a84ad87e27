"""FasterVLM: the patches that the CLS token attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transprune.algebra.select import select_top
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import KeepPruner
from transprune.methods.common.recipe import register


@register("fastervlm")
@dataclass(frozen=True)
class FasterVLM(KeepPruner):
    """Keep the patches that the CLS token of the vision tower attends to most.

    Zhang et al., "[CLS] Attention is All You Need for Training-Free Visual Token Pruning", 2024.
    https://arxiv.org/abs/2412.01818

    The CLS row is that of the layer whose output becomes the features (22 of CLIP-L's 24), mean
    over heads. Without a CLS token (SigLIP, Qwen2.5-VL) it is the mean attention a patch receives
    there, which the authors of the sibling method VisPruner advise.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 144, a quarter of
            LLaVA-1.5's 576; the paper also has 432, 288, 58 and 29, the same per crop of
            LLaVA-NeXT, and 64 or 26 per frame of Video-LLaVA.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 144

    title: ClassVar[str] = "FasterVLM: patches by CLS attention"
    paper: ClassVar[str] = "Zhang et al., 2024, arXiv 2412.01818"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "one pool per sample: anyres tiles share the budget, and newline tokens go first"
    )
    reads: ClassVar[Reads] = Reads(vision=("saliency",))

    def select(self, view: ProjectorView) -> Selection:
        """The most salient, ties to the lower index."""
        saliency = view.vision["saliency"]
        return Selection(select_top(saliency, view.count), scores={"score": saliency})
