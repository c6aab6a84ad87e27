"""The base of methods whose setting is a schedule, and of the two controls with TransPrune's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from transprune.core.published import HIGH, LOW
from transprune.core.schedule import Schedule, ScheduleLike
from transprune.methods.common.method import Fidelity, LayerPruner

C = TypeVar("C", bound="Control")
S = TypeVar("S", bound="ScheduledPruner")


@dataclass(frozen=True)
class ScheduledPruner(LayerPruner):
    """A pruner of several stages: `keep` gives the share that remains from each boundary on.

    A schedule written for a depth scales to other depths, but not from one of `published_depths` to
    another: for these the paper used the same boundaries.
    """

    keep: ScheduleLike

    published_depths: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        # the class is frozen: this is how a field is set once more
        object.__setattr__(self, "keep", Schedule.of(self.keep))

    def schedule(self, num_layers: int) -> Schedule:
        """The boundaries for this depth."""
        return Schedule.of(self.keep).scaled(num_layers, self.published_depths)

    def shifted_earlier(self: S, layers: int, num_layers: int) -> S:
        """With every boundary so much earlier."""
        return replace(self, keep=self.schedule(num_layers).earlier(layers, self.first_boundary))

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How a schedule written for another depth was adapted to this one."""
        written = Schedule.of(self.keep)
        here = self.schedule(num_layers)
        if written.boundaries == here.boundaries:
            return ()

        before = ", ".join(map(str, written.boundaries))
        after = ", ".join(map(str, here.boundaries))
        return (f"boundaries {before} of {written.depth} layers became {after} of {num_layers}",)


@dataclass(frozen=True)
class Control(ScheduledPruner):
    """A control: it chooses without reading the model, at any boundary from 0 on.

    By default at the boundaries of TransPrune.
    """

    keep: ScheduleLike = HIGH

    paper: ClassVar[str] = "control"
    fidelity: ClassVar[Fidelity] = "control"
    presets: ClassVar[tuple[str, ...]] = ("high", "low")
    first_boundary: ClassVar[int] = 0
    published_depths: ClassVar[tuple[int, ...]] = (28, 32)

    @classmethod
    def high(cls: type[C], **changes: Any) -> C:
        """At TransPrune-High's schedule."""
        return cls(**{"keep": HIGH, **changes})

    @classmethod
    def low(cls: type[C], **changes: Any) -> C:
        """At TransPrune-Low's schedule."""
        return cls(**{"keep": LOW, **changes})
