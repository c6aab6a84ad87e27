"""DivPrune: the subset of visual tokens that are farthest from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transprune.algebra.select import cosine_matrix, count_nearest, select_diverse
from transprune.core.plan import Reading
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_flag, check_ratio
from transprune.methods.common.method import Fidelity, ProjectorPruner
from transprune.methods.common.recipe import register


@register("divprune")
@dataclass(frozen=True)
class DivPrune(ProjectorPruner):
    """Keep the visual tokens that are farthest from each other (max-min cosine distance).

    Alvar et al., CVPR 2025. https://arxiv.org/abs/2503.02175

    Reads the projected features only: no attention, no text. Of LLaVA-NeXT all crops and newline
    tokens form one pool, as in the paper's setting.

    Args:
        keep_ratio: share of the visual tokens that stays; the count is rounded to the nearest.
            Default 0.098, the paper's 56 of 576.
        proportional: whether a kept token weighs in attention as much as it and those nearest to it
            together (log of their number on its key). Not in the paper; it is ToMe's proportional
            attention (Bolya et al., ICLR 2023, section 3) without the merging. So the proportions
            of the picture survive, which questions about numbers need. Default False.

    Raises:
        ScheduleError: a ratio outside (0, 1].
        MethodError: `proportional` is no bool.
        LayoutError: when proportional attention runs under FlashAttention, which takes no bias.
    """

    keep_ratio: float = 0.098
    proportional: bool = False

    title: ClassVar[str] = "DivPrune: max-min diversity of the projected features"
    paper: ClassVar[str] = "Alvar et al., CVPR 2025, arXiv 2503.02175"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "no token is taken twice: the code does not mark those it took, so among exact duplicates, "
        "or in half precision, it may take one again and keep fewer; distances in fp32"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)
        check_flag("proportional", self.proportional)

    def count(self, visual_tokens: int) -> int:
        """`round(N * ratio)`."""
        return round(visual_tokens * self.keep_ratio)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Every feature is compared with all others, and for sizes again with the kept ones."""
        pairs = 1 + self.keep_ratio if self.proportional else 1.0
        return (Reading(0, similarity="features", pairs=pairs),)

    def select(self, view: ProjectorView) -> Selection:
        """Greedy max-min selection.

        The score is the distance to the set at the time a token was picked, or to the final set.
        """
        distance = 1 - cosine_matrix(view.features)  # [N, N]
        picks, gap = select_diverse(distance, view.count)
        keep = picks.sort().values

        # where every token stays each has size 1, and log(1) = 0 is no bias
        bias = None
        if self.proportional and len(keep) < len(gap):
            bias = count_nearest(view.features, keep).float().log()  # [K]

        return Selection(keep, scores={"score": gap}, key_bias=bias)
