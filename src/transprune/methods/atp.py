"""ATP: attention within the picture and likeness to the question, half and half."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from transprune.algebra.select import select_top
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_choice, check_share
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import KeepPruner
from transprune.methods.common.recipe import register
from transprune.methods.common.relevance import (
    QUESTION,
    Space,
    cosines_with_question,
    rescale_to_one,
)


@register("atp")
@dataclass(frozen=True)
class ATP(KeepPruner):
    """Keep the patches that the CLS token attends to and that resemble the question.

    "Efficient Vision-Language Reasoning via Adaptive Token Pruning", NeurIPS 2025 workshop.
    https://arxiv.org/abs/2512.12701

    The score is alpha times the cosine between patch and question in CLIP's space plus (1 - alpha)
    times the CLS attention, each rescaled to 0..1. Of a question that CLIP's text tower takes in
    several segments the best one counts. The attention is that of the layer which gives the
    features; without a CLS token it is the mean attention a patch receives. Where the tower is not
    CLIP's, the cosine is that with the nearest input embedding of the instruction.

    Args:
        keep: tokens that stay, an int (count) or a float (share, rounded up). Default 0.6: the
            authors report about 150 of 256.
        alpha: weight of the cosine. Default 0.5; the authors tuned none.
        relevance: `"clip"`, `"embedding"` (the substitute), or None: whichever the model allows.
        sign: of the cosine, 1 or -1. Default 1, as in the paper; CDPruner's authors found that the
            patches a text names score low in CLIP's space.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: a CLIP tower without its text half, `"clip"` on a model without CLIP, or a
            vision tower that has no attention to read.
    """

    keep: int | float = 0.6
    alpha: float = 0.5
    relevance: Space | None = None
    sign: int = 1

    title: ClassVar[str] = "ATP: CLS attention and likeness to the question, half and half"
    paper: ClassVar[str] = "NeurIPS 2025 workshop, arXiv 2512.12701"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "the score is the paper's, from a note on it; rescaling to 0..1, alpha, the share, long "
        "questions and the substitute without CLIP are ours"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("alpha", self.alpha, "weighs attention (0) against the question (1)")
        check_choice("relevance", self.relevance, ("clip", "embedding", None))
        check_choice("sign", self.sign, (-1, 1))

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """Attention of the patches, and the question."""
        return Reads(vision=("saliency",), question=QUESTION[self.relevance])

    def count(self, visual_tokens: int) -> int:
        """The count, or the share of the tokens, rounded up."""
        if isinstance(self.keep, int):
            return min(visual_tokens, self.keep)

        # 0.6 * 5 is a little more than 3 in floating point, and means 3
        return math.ceil(visual_tokens * self.keep - 1e-9)

    def select(self, view: ProjectorView) -> Selection:
        """The best scored, ties to the lower index."""
        cosines = self.sign * cosines_with_question(view, self.relevance)  # [N, M]
        question = rescale_to_one(cosines.amax(dim=-1))
        attention = rescale_to_one(view.vision["saliency"])
        # newline tokens show no patch: their attention is NaN, and so is the score
        score = self.alpha * question + (1 - self.alpha) * attention

        scores = {"score": score, "question": question, "attention": attention}
        return Selection(select_top(score, view.count), scores=scores)
