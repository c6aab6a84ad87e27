"""What methods with a schedule for an argument share, and the two controls that run at TransPrune's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from transprune.core.schedule import Schedule, ScheduleLike
from transprune.methods.common.method import LayerPruner

HIGH = Schedule({7: 0.875, 9: 0.625, 12: 0.125}, depth=32)  # TransPrune, supplement, section B
LOW = Schedule({7: 0.625, 9: 0.1875, 12: 0.0625}, depth=32)
# behind VisionZip or CDPruner; inferred from the cost in Tables 4 and 5, which neither High nor Low gives
COMBINED = Schedule({7: 0.5, 9: 0.25, 12: 0.125}, depth=32)

C = TypeVar("C", bound="Control")
S = TypeVar("S", bound="ScheduledPruner")


@dataclass(frozen=True)
class ScheduledPruner(LayerPruner):
    """A pruner of several stages: `keep` says what remains from which boundary on.

    A schedule written for a depth scales to other depths, except those in `published_depths`, for which the paper used
    the same boundaries.
    """

    keep: ScheduleLike

    published_depths: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "keep", Schedule.of(self.keep))

    def schedule(self, num_layers: int) -> Schedule:
        """The boundaries for this depth."""
        return Schedule.of(self.keep).scaled(num_layers, self.published_depths)

    def shifted_earlier(self: S, layers: int, num_layers: int) -> S:
        """With every boundary so much earlier."""
        return replace(self, keep=self.schedule(num_layers).earlier(layers, self.first_boundary))

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How a schedule written for another depth was adapted to this one."""
        written, here = Schedule.of(self.keep), self.schedule(num_layers)
        if written.boundaries == here.boundaries:
            return ()
        before, after = (", ".join(map(str, schedule.boundaries)) for schedule in (written, here))
        return (f"boundaries {before} of {written.depth} layers became {after} of {num_layers}",)


@dataclass(frozen=True)
class Control(ScheduledPruner):
    """A control: it chooses without looking, at any boundary from 0 on, by default where TransPrune does."""

    keep: ScheduleLike = HIGH

    paper: ClassVar[str] = "control"
    presets: ClassVar[tuple[str, ...]] = ("high", "low")
    first_boundary: ClassVar[int] = 0
    published_depths: ClassVar[tuple[int, ...]] = (28,)

    @classmethod
    def high(cls: type[C], **changes: Any) -> C:
        """At TransPrune-High's schedule."""
        return cls(**{"keep": HIGH, **changes})

    @classmethod
    def low(cls: type[C], **changes: Any) -> C:
        """At TransPrune-Low's schedule."""
        return cls(**{"keep": LOW, **changes})
