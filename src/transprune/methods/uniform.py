"""Uniform: the control that spreads its tokens evenly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.methods.base import LayerPruner
from transprune.methods.transprune import HIGH, LOW
from transprune.recipe import register
from transprune.schedule import Schedule, ScheduleLike
from transprune.select import select_even
from transprune.views import LayerView, Scores


@register("uniform")
@dataclass(frozen=True)
class Uniform(LayerPruner):
    """Keep visual tokens at even distances in raster order. A control that looks at nothing.

    Args:
        keep: boundary -> share, at any boundary from 0 on. Default: TransPrune's High schedule, scaled with depth.

    Raises:
        ScheduleError: ratios or boundaries that make no schedule.
    """

    keep: ScheduleLike = HIGH

    title: ClassVar[str] = "Uniform: control, evenly spaced"
    paper: ClassVar[str] = "control"
    presets: ClassVar[tuple[str, ...]] = ("high", "low")
    first_boundary: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "keep", Schedule.of(self.keep))

    @classmethod
    def high(cls, **changes: Any) -> Uniform:
        """At TransPrune-High's schedule."""
        return cls(**{"keep": HIGH, **changes})

    @classmethod
    def low(cls, **changes: Any) -> Uniform:
        """At TransPrune-Low's schedule."""
        return cls(**{"keep": LOW, **changes})

    def schedule(self, num_layers: int) -> Schedule:
        """The boundaries for this depth, published depths as TransPrune's."""
        return Schedule.of(self.keep).scaled(num_layers, published=(28,))

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """1 for the evenly spaced candidates, 0 for the rest."""
        score = torch.zeros(len(view.candidates), device=view.candidates.device)
        score[select_even(len(score), view.count, score.device)] = 1.0
        return {"score": score}
