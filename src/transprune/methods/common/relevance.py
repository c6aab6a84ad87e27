"""How well each patch fits the question, by cosine: in CLIP's space, or in that of the embeddings."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from transprune.algebra.select import cosine_matrix
from transprune.core.signals import Question
from transprune.core.views import ProjectorView
from transprune.errors import MissingSignal

Space = Literal["clip", "embedding"]

# setting `relevance` -> whether the question must be there in CLIP's space
QUESTION: dict[str | None, Question | None] = {
    "clip": "required",
    None: "if available",
    "embedding": None,
}


def cosines_with_question(view: ProjectorView, space: Space | None) -> Tensor:
    """Cosines of every visual token with each row of the question, fp32 [N, M].

    Args:
        view: of the pool.
        space: `"clip"`: patch states and the output of CLIP's text tower, a row for each segment of
            the question that fits it; `"embedding"`: projected features and the input embeddings of
            the instruction tokens; None: CLIP's where the model has it.

    Raises:
        MissingSignal: `"clip"` on a model whose vision tower is not CLIP's.
    """
    joint = view.joint if QUESTION[space] else None
    if joint is not None:
        return cosine_matrix(joint.patches, joint.question)

    if space == "clip":
        raise MissingSignal("this model's vision tower is not CLIP's; use relevance='embedding'")
    return cosine_matrix(view.features, view.instruction)


def rescale_to_one(score: Tensor) -> Tensor:
    """Scores moved to 0..1; 0 where all are equal. NaN stays NaN. [N] -> [N]."""
    known = score.isfinite()
    low = score.masked_fill(~known, float("inf")).amin()
    high = score.masked_fill(~known, float("-inf")).amax()
    return (score - low) / (high - low).clamp(min=1e-12)
