"""CDPruner: a subset that is both diverse and relevant to the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.select import cosine_matrix, select_dpp
from transprune.core.plan import Reading
from transprune.core.signals import Question, Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MissingSignal
from transprune.methods.common.checks import check_choice
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import KeepPruner, keep_all_if_fits, split_budget
from transprune.methods.common.recipe import register

EXPONENT = 0.5  # theta / (2 (1 - theta)) at the port's relevance weight theta = 0.5

# setting `relevance` -> whether the question must be there in CLIP's space
QUESTION: dict[str | None, Question | None] = {
    "clip": "required",
    None: "if available",
    "embedding": None,
}


@register("cdpruner")
@dataclass(frozen=True)
class CDPruner(KeepPruner):
    """Take the most probable subset of a determinantal point process over the visual tokens.

    Zhang et al., NeurIPS 2025. https://arxiv.org/abs/2506.10967

    The kernel is r_i S_ij r_j, with S the cosines of the projected features and r the relevance
    between 0 and 1; the subset grows greedily, most relevant token first. In CLIP's space relevance
    is *minus* the cosine between patch and question: the patches that a text names score low there,
    which the authors found and others confirmed. CLIP's text tower is no part of a LLaVA
    checkpoint: it is found in `clip/` beside it, or given as `prune(..., text_tower=...)`.

    Where the vision tower is not CLIP's (SigLIP, Qwen2.5-VL) the authors leave the method
    undefined. The substitute is that of a third party (OpenVINO's port): plus the cosine between a
    visual token and the instruction's input embeddings, mean over the instruction, entering as
    exp(0.5 r).

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 128, as in the authors'
            README; TransPrune's Table 5 has 288 and 192.
        relevance: `"clip"`, `"embedding"` (the substitute), or None: whichever the model allows.
        sign: of the relevance. None: -1 in CLIP's space, +1 for the substitute.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: a CLIP tower without its text half, or `"clip"` on a model without CLIP.
    """

    keep: int | float = 128
    relevance: Literal["clip", "embedding"] | None = None
    sign: int | None = None

    title: ClassVar[str] = "CDPruner: conditional diversity by a determinantal point process"
    paper: ClassVar[str] = "Zhang et al., NeurIPS 2025, arXiv 2506.10967"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "relevance is normalised per sample, not over the batch; one pool per sample, newline "
        "tokens go first; long questions are cut into whole segments for the text tower; beyond the "
        "rank of the kernel, where the recursion has rounding errors left, tokens follow by index"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("relevance", self.relevance, ("clip", "embedding", None))
        check_choice("sign", self.sign, (-1, 1, None))

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """Places on the grid, and the question, which the substitute does without."""
        return Reads(vision=("place",), question=QUESTION[self.relevance])

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Every feature is compared with every other."""
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Greedy picks in raster order; the score is the relevance."""
        relevance = self.relate(view)
        scores = {"score": relevance}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        patches, newlines = split_budget(view.vision, view.count)
        r = relevance[patches]
        # relevance on both sides keeps the kernel positive semi-definite
        kernel = r[:, None] * cosine_matrix(view.features[patches]) * r  # [n, n]

        picks, _ = select_dpp(kernel, view.count - len(newlines))
        keep = torch.cat([patches[picks], newlines]).sort().values
        return Selection(keep, scores=scores)

    def relate(self, view: ProjectorView) -> Tensor:
        """Relevance of every token, fp32 [N].

        0 to 1 in CLIP's space, exp of half of that for the substitute.
        """
        joint = view.joint if self.reads.question else None
        if joint is not None:
            return rescale((self.sign or -1) * cosines(joint.patches, joint.question))

        if self.relevance == "clip":
            raise MissingSignal(
                "this model's vision tower is not CLIP's; use relevance='embedding'"
            )

        relevance = rescale((self.sign or 1) * cosines(view.features, view.instruction))
        return (EXPONENT * relevance).exp()


def cosines(rows: Tensor, texts: Tensor) -> Tensor:
    """Mean cosine of each row with the texts, fp32. [N, D], [M, D] -> [N]."""
    return cosine_matrix(rows, texts).mean(dim=-1)


def rescale(relevance: Tensor) -> Tensor:
    """Scores moved to 1e-6..1; 1 where all are equal. [N] -> [N].

    The smallest stays above 0, so that every token can still be chosen.
    """
    low = relevance.amin()
    high = relevance.amax()

    # the clamp only avoids a division by 0 whose result is not used
    scaled = (relevance - low + 1e-6) / (high - low).clamp(min=1e-12)
    return torch.where(high > low, scaled, 1.0)
