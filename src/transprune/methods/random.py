"""Random: the control every pruner must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.errors import MethodError
from transprune.methods.base import LayerPruner
from transprune.methods.transprune import HIGH, LOW
from transprune.recipe import register
from transprune.schedule import Schedule, ScheduleLike
from transprune.views import LayerView, Scores


@register("random")
@dataclass(frozen=True)
class Random(LayerPruner):
    """Keep visual tokens at random, nested from stage to stage, the same ones for the same seed and token count.

    A control. The draw depends on the seed and on the token's number alone, never on the batch around it.

    Args:
        keep: boundary -> share, at any boundary from 0 on. Default: TransPrune's High schedule, scaled with depth.
        seed: seed of the draw. Default 0.

    Raises:
        MethodError, ScheduleError: a seed that is no int, or ratios or boundaries that make no schedule.
    """

    keep: ScheduleLike = HIGH
    seed: int = 0

    title: ClassVar[str] = "Random: control, seeded"
    paper: ClassVar[str] = "control"
    presets: ClassVar[tuple[str, ...]] = ("high", "low")
    first_boundary: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "keep", Schedule.of(self.keep))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise MethodError(f"seed is an int; got {self.seed!r}")

    @classmethod
    def high(cls, **changes: Any) -> Random:
        """At TransPrune-High's schedule."""
        return cls(**{"keep": HIGH, **changes})

    @classmethod
    def low(cls, **changes: Any) -> Random:
        """At TransPrune-Low's schedule."""
        return cls(**{"keep": LOW, **changes})

    def schedule(self, num_layers: int) -> Schedule:
        """The boundaries for this depth, published depths as TransPrune's."""
        return Schedule.of(self.keep).scaled(num_layers, published=(28,))

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """A random number per original token."""
        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.rand(int(view.candidates.max()) + 1, generator=generator)
        return {"score": draw.to(view.candidates.device)[view.candidates]}
