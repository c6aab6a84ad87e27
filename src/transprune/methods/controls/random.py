"""Random: the control every pruner must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.core.rows import upload
from transprune.core.views import LayerView, Scores
from transprune.errors import MethodError
from transprune.methods.common.checks import is_count
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import Control


@register("random")
@dataclass(frozen=True)
class Random(Control):
    """Keep visual tokens at random, nested from stage to stage. A control.

    The draw depends on the seed and on the token's number alone, never on the batch around it: the
    same tokens stay for the same seed and token count.

    Args:
        keep: boundary -> share, at any boundary from 0 on. Default: TransPrune's High schedule,
            scaled with depth.
        seed: seed of the draw. Default 0.

    Raises:
        MethodError, ScheduleError: a seed that is no int, or ratios or boundaries that make no
            schedule.
    """

    seed: int = 0

    title: ClassVar[str] = "Random: control, seeded"
    batched: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_count(self.seed):
            raise MethodError(f"seed is an int; got {self.seed!r}")

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """A random number per original token."""
        # drawn on the CPU, so that every device keeps the same tokens
        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.rand(view.numbers, dtype=torch.float32, generator=generator)
        return {"score": upload(draw.numpy(), view.candidates.device)[view.candidates]}
