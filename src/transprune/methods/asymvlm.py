"""AsymVLM, its visual half: a trained scorer in front of the language model, with a budget by mass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from transprune.algebra.select import rankable, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import ScheduleError
from transprune.methods.common.checks import (
    check_keep,
    check_ratio,
    check_weights,
    is_count,
    resolve_count,
)
from transprune.methods.common.cross_attention import rate
from transprune.methods.common.method import Fidelity, Positions, ProjectorPruner
from transprune.methods.common.recipe import register


@register("asymvlm")
@dataclass(frozen=True)
class AsymVLM(ProjectorPruner):
    """Keep the fewest tokens that a trained scorer gives most of the question's attention.

    "AsymVLM", 2026. https://arxiv.org/abs/2605.29535

    Experimental: reconstructed from the abstract alone, and no weights of the authors exist. A
    cross-attention, in which the visual tokens attend to the embedded instruction, and an MLP give
    each token one logit. Their softmax is trained to be the attention that the frozen model's
    instruction pays to the visual tokens, summed over its layers, by KL divergence (`transprune
    train-pruner`). Kept are the fewest tokens whose probabilities add up to `mass`, within two
    bounds, so simple questions keep fewer. Widths, bounds and mass are ours.

    The other half of the paper, evicting old text from the cache while decoding, is not here.

    Args:
        mass: share of the predicted attention that stays, in (0, 1]. Default 0.9; ours. With 1 the
            upper bound alone decides.
        least: tokens that stay at least, an int (count) or a float (share). Default 0.05; ours.
        most: the same at most. Default 0.5; ours.
        weights: folder of `transprune train-pruner`; None looks into `pruners/asymvlm` beside the
            checkpoint.
        positions: default `"keep"`; ours. The tokens that stay lie close together, and renumbered
            they lose where that is: questions about places are answered worse.

    Raises:
        MethodError, ScheduleError: settings out of range.
        WeightsError: when run without weights, or with those of another model.
    """

    mass: float = 0.9
    least: int | float = 0.05
    most: int | float = 0.5
    weights: str | None = None

    title: ClassVar[str] = "AsymVLM (experimental): a trained scorer and a budget by its mass"
    paper: ClassVar[str] = "2026, arXiv 2605.29535"
    fidelity: ClassVar[Fidelity] = "trained"
    reconstructed: ClassVar[str] = (
        "needs weights of `transprune train-pruner`; experimental, from the abstract alone; "
        "evicting text while decoding is left out"
    )
    default_positions: ClassVar[Positions] = "keep"
    budget_fields: ClassVar[tuple[str, ...]] = ("least", "most")
    reads: ClassVar[Reads] = Reads(signals=("module",))

    inner: ClassVar[int] = 256  # widest inner width of the scorer
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("mass", self.mass)
        check_keep("least", self.least)
        check_keep("most", self.most)
        check_weights(self.weights)
        if is_count(self.least) == is_count(self.most) and self.least > self.most:
            raise ScheduleError(
                f"least is at most as large as most; got {self.least!r} and {self.most!r}"
            )

    def count(self, visual_tokens: int) -> int:
        """The upper bound."""
        return resolve_count(self.most, visual_tokens)

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage at boundary 0; the picture and the question decide how many stay."""
        stages = super().plan(num_layers, visual_tokens)
        return tuple(replace(stage, at_most=self.mass < 1) for stage in stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The scorer."""
        return (Reading(0, scorer=self.inner),)

    def select(self, view: ProjectorView) -> Selection:
        """The fewest tokens that have the mass, within the bounds; ties to the lower index."""
        logits = rate(view.read("module"), view.features.detach(), view.instruction.detach())[:, 0]
        share = rankable(logits).softmax(dim=0)  # [N]
        count = view.count
        if self.mass < 1:
            least = min(count, max(1, resolve_count(self.least, len(share))))
            # how many have the mass only the device knows
            count = min(count, max(least, fewest(share, self.mass)))

        return Selection(select_top(share, count), scores={"score": share})


def fewest(share: Tensor, mass: float) -> int:
    """The smallest number of entries of `share` [N] that add up to `mass`. Waits for the device."""
    sums = share.sort(descending=True).values.cumsum(dim=0)
    below = (sums < mass).sum()
    return min(len(share), int(below) + 1)
