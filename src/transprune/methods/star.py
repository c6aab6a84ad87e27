"""STAR: the salient half in front of the language model, and a tenth of it behind its middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.methods.common.checks import check_choice, check_keep
from transprune.methods.common.method import Fidelity, Method, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner
from transprune.methods.common.two_stages import TwoStages
from transprune.methods.fastervlm import FasterVLM

HALFWAY = Schedule({16: 0.1}, depth=32)


@dataclass(frozen=True)
class Salient(FasterVLM):
    """STAR's first stage: FasterVLM's rule."""

    name: ClassVar[str] = "star"


@dataclass(frozen=True)
class Attended(ScheduledPruner):
    """STAR's second stage: the attention of the text in the layer that has just run."""

    queries: Literal["last", "instruction"] = "last"

    name: ClassVar[str] = "star"
    batched: ClassVar[bool] = True

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """One row, or those of the whole instruction."""
        return Reads(rows=self.queries, source="previous")

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean over heads and rows."""
        return {"score": view.mean_attention(self.queries)}


@register("star")
@dataclass(frozen=True)
class STAR(TwoStages):
    """Keep the patches the vision tower attends to, then those of them that the text attends to.

    Guo et al., "STAR: Stage-Wise Attention-Guided Token Reduction for Efficient Large
    Vision-Language Models Inference", 2025. https://arxiv.org/abs/2505.12359

    Known are the two stages, the attention that each goes by, and that the second one, at some
    middle layer, is the more aggressive. Layer, ratios, rows and heads are not public: all numbers
    here are placeholders of ours. The first stage goes by the CLS row of the layer that gives the
    features, or the mean attention a patch receives where there is no CLS token; the second by the
    attention of the layer in front of the boundary, mean over heads. The paper's savings (58 % in
    one place, 29 % in another) are not reproduced.

    Args:
        keep: tokens of the first stage, an int (count) or a float (share). Default 0.5; ours.
        then: the second stage: boundary -> share of the tokens the first one left. Default a tenth
            after 16 of 32 layers, scaling with depth; ours. None leaves it out, to put another
            method there.
        queries: whose attention the second stage goes by: `"last"`, the last prompt token
            (default; ours), or the mean of the `"instruction"`.
        positions: default `"renumber"`; ours.

    Raises:
        MethodError, ScheduleError: settings out of range, boundaries that make no schedule.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 0.5
    then: ScheduleLike | None = HALFWAY
    queries: Literal["last", "instruction"] = "last"

    title: ClassVar[str] = "STAR: vision attention in front, text attention halfway"
    paper: ClassVar[str] = "Guo et al., 2025, arXiv 2505.12359"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "two stages and their signals from the abstract and the authors' page; layer, ratios, rows "
        "and heads are ours"
    )
    kind: ClassVar[str] = "hybrid"
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Salient.reads

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)
        check_choice("queries", self.queries, ("last", "instruction"))
        if self.then is not None:
            object.__setattr__(self, "then", Schedule.of(self.then))

    @property
    def first(self) -> Method:
        """By the attention of the tower."""
        return Salient(self.keep, positions=self.positions)

    @property
    def second(self) -> Attended | None:
        """By that of the language model, if it is asked for."""
        if self.then is None:
            return None
        return Attended(self.then, self.queries, positions=self.positions)
