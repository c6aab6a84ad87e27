"""FastV: one cut after an early layer, by the attention of the last prompt token there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.methods.common.checks import check_count, check_ratio
from transprune.methods.common.method import Fidelity, LayerPruner, Positions
from transprune.methods.common.recipe import register


@register("fastv")
@dataclass(frozen=True)
class FastV(LayerPruner):
    """Keep the visual tokens that the last prompt token attends to most, just before the cut.

    Chen et al., ECCV 2024. https://arxiv.org/abs/2403.06764

    The paper describes the attention received from all tokens; its code reads the last token's row
    only, which is what runs here. Tokens are really dropped, once, in the prefill (the code's
    in-place variant with a cache).

    Args:
        layer: the paper's K: so many layers see every token. Not scaled with depth (the papers use
            K=2 on 28, 32 and 40 layers alike). Default 2.
        keep_ratio: share of the visual tokens that stays, 1 - R of the paper. Default 0.5.

    Raises:
        MethodError, ScheduleError: a layer below 1 or a ratio outside (0, 1].
    """

    layer: int = 2
    keep_ratio: float = 0.5

    title: ClassVar[str] = "FastV: attention of the last token after layer K"
    paper: ClassVar[str] = "Chen et al., ECCV 2024, arXiv 2403.06764"
    fidelity: ClassVar[Fidelity] = "exact"
    presets: ClassVar[tuple[str, ...]] = ("aggressive",)
    default_positions: ClassVar[Positions] = "keep"
    batched: ClassVar[bool] = True
    reads: ClassVar[Reads] = Reads(rows="last", source="previous")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)
        check_count("layer", self.layer, "the number of layers that see every token")

    @classmethod
    def aggressive(cls, **changes: Any) -> FastV:
        """The paper's second setting: K=2, R=0.75."""
        return cls(**{"keep_ratio": 0.25, **changes})

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, `layer`."""
        return Schedule({self.layer: self.keep_ratio})

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean over heads of the last token's attention."""
        # of the layer that has just run: K layers ran, and the last of them is read
        return {"score": view.mean_attention("last")}
