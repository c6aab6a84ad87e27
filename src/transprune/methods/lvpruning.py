"""LVPruning: trained modules between the layers, in which visual tokens attend to the question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from transprune.algebra.select import select_top
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.errors import ScheduleError
from transprune.methods.common.checks import check_choice, check_weights
from transprune.methods.common.cross_attention import rate
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner


@register("lvpruning")
@dataclass(frozen=True)
class LVPruning(ScheduledPruner):
    """Keep the tokens that trained modules between the layers rate highest for the question.

    Sun et al., "LVPruning: An Effective yet Simple Language-Guided Vision Token Pruning Approach
    for Multi-modal Large Language Models", NAACL Findings 2025. https://arxiv.org/abs/2501.13652

    Each module is a cross-attention whose queries are the visual tokens and whose keys and values
    are those of the instruction, and an MLP with two logits per token, keep and drop. They are
    trained with the model frozen: decisions are drawn with the Gumbel-softmax and act as an
    attention mask, so tokens stay; the loss is that of the answers plus `2 * (kept - target)^2` at
    each module (`transprune train-pruner`). At inference tokens are removed.

    Without trained weights this is noise, so it raises. The authors have released none; the
    bundled model has its own, which are found by themselves. Known are the idea, the losses and the
    frozen model, from the abstract and a caption. Layers, widths, heads, ratios, temperature and
    the form of the MLP are ours, and so is the rule at inference: the paper removes what a module
    decides to drop, which is `decide="modules"`; here a budget decides by default, by the keep
    logit minus the drop logit, so that costs are known and methods can be compared at equal ones.

    Args:
        keep: boundary -> share of the original tokens. Default 1, 8, 16 of 32 layers with 0.7, 0.3,
            0.1, scaling with depth; ours. Ratios are free, boundaries are those of the weights.
        weights: folder of `transprune train-pruner`; None looks into `pruners/lvpruning` beside the
            checkpoint.
        decide: `"budget"` (default), or `"modules"`: of the tokens that the budget would keep, only
            those that the module decides to keep, at least one.
        positions: default `"keep"`: in training no token is removed, so none is renumbered.

    Raises:
        MethodError, ScheduleError: settings out of range, boundaries that make no schedule.
        WeightsError: when run without weights, or with those of another model.
    """

    keep: ScheduleLike = Schedule({1: 0.7, 8: 0.3, 16: 0.1}, depth=32)
    weights: str | None = None
    decide: Literal["budget", "modules"] = "budget"

    title: ClassVar[str] = "LVPruning: trained modules rate visual tokens by the question"
    paper: ClassVar[str] = "Sun et al., NAACL Findings 2025, arXiv 2501.13652"
    fidelity: ClassVar[Fidelity] = "trained"
    reconstructed: ClassVar[str] = (
        "needs weights of `transprune train-pruner`; losses and modules from the abstract and a "
        "caption; layers, widths, ratios, temperature and the budget at inference are ours"
    )
    default_positions: ClassVar[Positions] = "keep"
    reads: ClassVar[Reads] = Reads(signals=("instruction_rows", "module"))

    inner: ClassVar[int] = 1024  # widest inner width of a module
    outputs: ClassVar[int] = 2  # keep and drop

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.weights)
        check_choice("decide", self.decide, ("budget", "modules"))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The budget; where the modules decide, it is an upper bound."""
        stages = super().plan(num_layers, visual_tokens)
        return tuple(replace(stage, at_most=self.decide == "modules") for stage in stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """One module at every boundary."""
        readings = super().reads_at(num_layers)
        return tuple(replace(reading, scorer=self.inner) for reading in readings)

    def shifted_earlier(self, layers: int, num_layers: int) -> LVPruning:
        """Refused: a module belongs to its layer."""
        raise ScheduleError(f"{self.name} cannot start earlier: its modules belong to their layers")

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """The keep logit minus the drop logit."""
        rows = view.hidden.detach()
        words = view.read("instruction_rows").detach()
        logits = rate(view.read("module"), rows, words)  # [N, 2]
        return {"score": logits[:, 0] - logits[:, 1]}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The best of the budget; with `decide="modules"` only those the module keeps."""
        scores = self.score(view, carry)
        keep = select_top(scores["score"], view.count)
        if self.decide == "modules":
            kept = scores["score"][keep]
            # the best one stays in any case; how many others do only the device knows
            keep = keep[(kept > 0) | (kept == kept.max())]
        return Selection(keep, scores=scores)
