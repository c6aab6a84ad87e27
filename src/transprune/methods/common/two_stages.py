"""Methods of two stages: one in front of the language model, and perhaps one inside it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from transprune.core.plan import Reading, Stage
from transprune.core.schedule import ScheduleLike
from transprune.methods.common.method import Method
from transprune.methods.compose import Compose

M = TypeVar("M", bound="TwoStages")


@dataclass(frozen=True)
class TwoStages(Method):
    """A method that runs two others.

    A subclass has a setting `then`, the schedule of the second stage, or None for the first alone.
    """

    @property
    @abstractmethod
    def first(self) -> Method:
        """The stage in front of the language model."""

    @property
    @abstractmethod
    def second(self) -> Any:
        """The stage inside it, whose setting `keep` is `then`; None without one."""

    @property
    def steps(self) -> tuple[Method, ...]:
        """Both stages, or the first alone."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The stages of both."""
        return Compose(self.steps).plan(num_layers, visual_tokens)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The readings of both."""
        return Compose(self.steps).reads_at(num_layers)

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How the second stage was adapted to this depth."""
        return Compose(self.steps).notes(num_layers)

    def shifted_earlier(self: M, layers: int, num_layers: int) -> M:
        """With the second stage so much earlier."""
        if self.second is None:
            return super().shifted_earlier(layers, num_layers)

        then: ScheduleLike = self.second.shifted_earlier(layers, num_layers).keep
        changes: dict[str, Any] = {"then": then}
        return replace(self, **changes)
