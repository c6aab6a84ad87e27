"""Uniform: the control that spreads its tokens evenly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import select_even
from transprune.core.views import LayerView, Scores
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import Control


@register("uniform")
@dataclass(frozen=True)
class Uniform(Control):
    """Keep visual tokens at even distances in raster order. A control that reads nothing.

    Args:
        keep: boundary -> share, at any boundary from 0 on. Default: TransPrune's High schedule,
            scaled with depth.

    Raises:
        ScheduleError: ratios or boundaries that make no schedule.
    """

    title: ClassVar[str] = "Uniform: control, evenly spaced"
    batched: ClassVar[bool] = True

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """1 for the evenly spaced candidates, 0 for the rest."""
        score = torch.zeros_like(view.candidates, dtype=torch.float32)  # [..., N]
        # evenly among the candidates, which an earlier stage has spread evenly already
        even = select_even(score.shape[-1], view.count, score.device)
        return {"score": score.index_fill(-1, even, 1.0)}
