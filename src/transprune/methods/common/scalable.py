"""Bring a method to a budget. Only the benchmark calls this; a method may ignore it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from transprune.core.schedule import Schedule, ScheduleLike
from transprune.errors import MethodError, ScheduleError

S = TypeVar("S", bound="Scalable")


@dataclass(frozen=True)
class Range:
    """The values that a search draws of one number.

    Attributes:
        low, high: the smallest and the largest.
        step: distance of neighbouring values; None for any number between.
        setting: the setting that it decides, so that a text that gives it takes it out of the
            search; empty for the one of the same name.
    """

    low: float
    high: float
    step: float | None = None
    setting: str = ""


class Scalable:
    """A dataclass whose settings say how much stays, and where it begins.

    Attributes:
        budget_fields: names of the settings that say how much stays. Those a class does not have
            are left out.
    """

    name: ClassVar[str]
    budget_fields: ClassVar[tuple[str, ...]] = ("keep", "keep_ratio")

    def scaled_by(self: S, factor: float) -> S:
        """The same method with `factor` times as much kept, for comparing methods at equal cost.

        The settings named in `budget_fields` are multiplied: counts, shares and schedules alike.
        Order and shape stay; at least one token and at most all of them remain. A method whose
        budget is expressed otherwise overrides this.

        Raises:
            MethodError: the method has no such setting, or the factor is not positive.
        """
        names = [name for name in self.budget_fields if hasattr(self, name)]

        if not names or not factor > 0:
            raise MethodError(
                f"{self.name} cannot keep {factor!r} times as much: a method names the settings "
                "that say how much stays in `budget_fields` (it has none of "
                f"{', '.join(self.budget_fields)}), and the factor is positive"
            )

        changes = {name: scale_budget(getattr(self, name), factor) for name in names}
        return replace(self, **changes)  # type: ignore[type-var]

    def search_box(self) -> dict[str, Range]:
        """What `transprune tune` draws for this method and how far; empty for the usual settings.

        Names of settings, or of numbers that `drawn` makes settings of.
        """
        return {}

    def drawn(self: S, values: Mapping[str, float], budget: float) -> S:
        """The method with these values of its box, which a search then scales to the budget.

        Args:
            values: what was drawn, by the names of `search_box`; those that a text gives are left
                out.
            budget: share of the unpruned cost.
        """
        return self

    def in_box(self, budget: float) -> dict[str, float]:
        """The values of the box that draw this method itself."""
        return {}

    def shifted_earlier(self: S, layers: int, num_layers: int) -> S:
        """The same method with every boundary `layers` earlier on a model of `num_layers` layers.

        For budgets that it cannot reach from where it begins.

        Raises:
            ScheduleError: it cannot start that early.
        """
        raise ScheduleError(f"{self.name} cannot start earlier")


def scale_budget(budget: ScheduleLike | float, factor: float) -> Any:
    """`factor` times a count (at least 1), a share (at most 1) or every share of a schedule."""
    if isinstance(budget, int):
        return max(1, round(budget * factor))
    if isinstance(budget, float):
        return min(1.0, budget * factor)

    # a share above 1 is cut off, so the ratios still do not increase
    schedule = Schedule.of(budget)
    shares = [(boundary, min(1.0, share * factor)) for boundary, share in schedule]
    return Schedule(shares, depth=schedule.depth)
