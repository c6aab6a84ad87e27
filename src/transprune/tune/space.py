"""What is searched: settings of methods, drawn from a trial of the optimiser.

A recipe text is the starting point. Its settings of the names below are searched, except those that
the text itself gives; everything else stays. How much the first part keeps is never drawn: it
follows from the budget, so every trial has the same cost.

    keep        of a schedule: one to three boundaries, and the ratios between them
    layer       the boundary of a method that has one
    keep_ratio, keep   of a part behind another: its share
    alpha, accumulate, positions, proportional, in the methods that have them

A method with a box of its own (`Scalable.search_box`, VFlowOpt) is searched in that box instead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from transprune.bench.run.nominal import NominalPrompt
from transprune.core.schedule import Schedule
from transprune.methods.common.method import LayerPruner, Method
from transprune.methods.common.recipe import resolve
from transprune.methods.common.scalable import Range
from transprune.methods.compose import Compose
from transprune.tune.bounds import (
    given_settings,
    is_scheduled,
    latest_boundary,
    share_field,
    widest_gap,
)

STAGES = 3
SMALLEST_SHARE = 0.05
STEP = 0.05  # of shares and of alpha: finer settings cannot be told apart on some hundred questions


class Draw(Protocol):
    """The part of an Optuna trial that is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None) -> float:
        """A number in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number in low..high."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of the choices."""


@dataclass(frozen=True)
class Part:
    """One method of a composition.

    Attributes:
        method: the method as its text gives it.
        free: names of its settings that may be drawn.
        leads: whether it is the first part, which the budget scales.
        latest: the last boundary at which it may begin.
        name: prefix of its parameters in a trial.
    """

    method: Method
    free: frozenset[str]
    leads: bool
    latest: int
    name: str


class Base:
    """One starting point: the parts of a recipe text, and what may be drawn of each.

    Args:
        text: the recipe text.
        prompt: the prompt that costs are counted for.
        budget: the largest share of the unpruned cost, which bounds the boundaries.
        mrope: whether the model has M-RoPE positions, which cannot be renumbered.
    """

    def __init__(self, text: str, prompt: NominalPrompt, budget: float, mrope: bool) -> None:
        self.text = text
        self.method: Method = resolve(text)
        self.layers = prompt.geometry.layers
        self._share = budget
        self._mrope = mrope

        methods = self.method.parts if isinstance(self.method, Compose) else (self.method,)
        given = given_settings(text, len(methods))
        self.parts: list[Part] = []
        for number, method in enumerate(methods):
            leads = number == 0
            names = {field.name for field in fields(method)} - given[number]
            latest = latest_boundary(method, prompt, budget) if leads else self.layers - 1
            self.parts.append(Part(method, frozenset(names), leads, latest, f"{text}/{number}."))

    def draw(self, trial: Draw, share: float | None = None) -> Method:
        """A method with the trial's settings, not yet brought to the budget.

        `share` is the budget of this trial; None for the largest one.

        Raises:
            MethodError: settings that do not go together.
        """
        share = self._share if share is None else share
        drawn = [self._draw_part(trial, part, share) for part in self.parts]
        if isinstance(self.method, Compose):
            return Compose(drawn)
        return drawn[0]

    def _draw_part(self, trial: Draw, part: Part, budget: float) -> Method:
        method = part.method
        changes: dict[str, Any] = {}
        if box := _free_box(part):
            values = {}
            for name, own in box.items():
                found = trial.suggest_float(f"{part.name}{name}", own.low, own.high, step=own.step)
                values[name] = round(found, 6)
            return method.drawn(values, budget)

        # a schedule first: the accumulation layers follow from it
        if is_scheduled(method) and "keep" in part.free:
            changes |= self._draw_schedule(trial, part)
        elif share := share_field(method):
            if part.leads:
                # all of it: scaling to the budget then shrinks this part and no other
                changes[share] = 1.0
            elif share in part.free:
                changes[share] = _draw_share(trial, f"{part.name}{share}")

        if "layer" in part.free and isinstance(method, LayerPruner):
            first = method.first_boundary
            changes["layer"] = trial.suggest_int(f"{part.name}layer", first, part.latest)
        if "alpha" in part.free:
            changes["alpha"] = _draw_share(trial, f"{part.name}alpha", 0.0)
        if "proportional" in part.free:
            name = f"{part.name}proportional"
            changes["proportional"] = trial.suggest_categorical(name, (False, True))
        if isinstance(method, LayerPruner) and "positions" in part.free and not self._mrope:
            name = f"{part.name}positions"
            changes["positions"] = trial.suggest_categorical(name, ("renumber", "keep"))

        return replace(method, **changes)

    def _draw_schedule(self, trial: Draw, part: Part) -> dict[str, Any]:
        """Boundaries and ratios, and the layers that evidence is accumulated over."""
        method = part.method
        assert isinstance(method, LayerPruner)
        start = boundary = trial.suggest_int(
            f"{part.name}first", max(1, method.first_boundary), part.latest
        )

        # the first share of the leading part follows from the budget
        share = 1.0 if part.leads else _draw_share(trial, f"{part.name}share1")
        keep = {boundary: share}
        for stage in range(2, 1 + trial.suggest_int(f"{part.name}stages", 1, STAGES)):
            boundary += trial.suggest_int(f"{part.name}gap{stage}", 1, widest_gap(self.layers))
            share = round(share * _draw_share(trial, f"{part.name}ratio{stage}"), 6)
            if boundary < self.layers:
                keep[boundary] = share

        changes: dict[str, Any] = {"keep": Schedule(keep)}
        if "accumulate" in part.free:
            back = trial.suggest_int(f"{part.name}accumulate_before", 0, widest_gap(self.layers))
            changes["accumulate"] = range(max(1, start - back), max(keep) + 1)

        return changes

    def start(self, fitted: Method) -> dict[str, Any]:
        """The parameters that draw this base itself, as far as the ranges hold it.

        Args:
            fitted: the base brought to the budget, whose boundaries may have moved.
        """
        methods = fitted.parts if isinstance(fitted, Compose) else (fitted,)
        found: dict[str, Any] = {}
        for part, method in zip(self.parts, methods, strict=True):
            # ratios of the text itself: scaling may have cut some off at 1
            found |= self._start_part(part, method)
        return found

    def _start_part(self, part: Part, fitted: Method) -> dict[str, Any]:
        found: dict[str, Any] = {}
        method = part.method
        if box := _free_box(part):
            own = method.in_box(self._share)
            found = {name: min(r.high, max(r.low, own[name])) for name, r in box.items()}
            return {f"{part.name}{name}": value for name, value in found.items()}

        if is_scheduled(method) and "keep" in part.free:
            found |= self._start_schedule(part, fitted)
        elif (share := share_field(method)) and not part.leads and share in part.free:
            value = getattr(method, share)
            found[share] = _on_grid(value if isinstance(value, float) else 0.5)

        if "layer" in part.free and isinstance(method, LayerPruner):
            layer = getattr(fitted, "layer")  # noqa: B009
            found["layer"] = min(part.latest, max(method.first_boundary, layer))
        if "alpha" in part.free:
            found["alpha"] = _on_grid(getattr(method, "alpha"), 0.0)  # noqa: B009
        if "proportional" in part.free:
            found["proportional"] = getattr(method, "proportional")  # noqa: B009
        if isinstance(method, LayerPruner) and "positions" in part.free and not self._mrope:
            found["positions"] = method.policy

        return {f"{part.name}{name}": value for name, value in found.items()}

    def _start_schedule(self, part: Part, fitted: Method) -> dict[str, Any]:
        assert isinstance(fitted, LayerPruner) and isinstance(part.method, LayerPruner)
        ratios = [ratio for _, ratio in part.method.schedule(self.layers)][:STAGES]
        boundaries = fitted.schedule(self.layers).boundaries[:STAGES]
        lowest = max(1, part.method.first_boundary)

        found: dict[str, Any] = {
            "first": min(part.latest, max(lowest, boundaries[0])),
            "stages": len(boundaries),
        }
        if not part.leads:
            found["share1"] = _on_grid(ratios[0])
        for stage in range(2, len(boundaries) + 1):
            # the search is over gaps and ratios of neighbours, which keeps every point of it a
            # schedule
            gap = boundaries[stage - 1] - boundaries[stage - 2]
            found[f"gap{stage}"] = min(gap, widest_gap(self.layers))
            found[f"ratio{stage}"] = _on_grid(ratios[stage - 1] / ratios[stage - 2])

        if "accumulate" in part.free:
            found["accumulate_before"] = 0

        return found


def _free_box(part: Part) -> dict[str, Range]:
    """The part's own box without what its text gives."""
    box = part.method.search_box()
    return {name: own for name, own in box.items() if (own.setting or name) in part.free}


def _draw_share(trial: Draw, name: str, low: float = SMALLEST_SHARE) -> float:
    # rounded: a recipe with 0.8500000000000001 is hard to read
    return round(trial.suggest_float(name, low, 1.0, step=STEP), 6)


def _on_grid(value: float, low: float = SMALLEST_SHARE) -> float:
    """The nearest value that can be drawn."""
    return min(1.0, max(low, round(round(value / STEP) * STEP, 6)))
