"""PyramidDrop: drop a fixed share at the end of each stage of the language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner


@register("pdrop")
@dataclass(frozen=True)
class PDrop(ScheduledPruner):
    """Halve the visual tokens after each quarter of the layers, by the last token's attention.

    Xing et al., PyramidDrop, CVPR 2025. https://arxiv.org/abs/2410.17247

    The attention row is that of the layer behind the boundary, recomputed from its own projections,
    as in the code.

    Args:
        keep: boundary -> share of the original tokens. Default 8, 16, 24 of 32 layers with 1/2,
            1/4, 1/8; scales with depth. A mapping of your own is used as it stands.

    Raises:
        ScheduleError: ratios or boundaries that make no schedule.
    """

    keep: ScheduleLike = Schedule({8: 0.5, 16: 0.25, 24: 0.125}, depth=32)

    title: ClassVar[str] = "PyramidDrop: halving in stages by the last token's attention"
    paper: ClassVar[str] = "Xing et al., CVPR 2025, arXiv 2410.17247"
    fidelity: ClassVar[Fidelity] = "exact"
    default_positions: ClassVar[Positions] = "renumber"
    batched: ClassVar[bool] = True
    reads: ClassVar[Reads] = Reads(rows="last")

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean over heads of the last token's attention."""
        return {"score": view.mean_attention("last")}
