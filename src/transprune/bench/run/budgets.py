"""Budgets: every method at the same share of the unpruned prefill, counted `exact`.

One mechanism for all methods: `Method.scaled_by(factor)` keeps `factor` times as much, and bisection finds the factor
whose counted cost is nearest to the budget. Counts are whole tokens, so a few tenths of a point remain.

A method that starts deep cannot get cheap: its first layers see everything. Its boundaries then move earlier, one layer
at a time, until the budget leaves it at least one token in sixteen at its last stage (the share TransPrune-Low ends
with). Where that never happens the start at which most tokens stay within the budget is taken, and where no start
reaches the budget the cheapest setting runs and says so. What acts in front of the language model can get as cheap as
anyone likes, so a composition or hybrid that begins there stays where it is. Nothing here looks at answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from transprune.core.plan import per_layer
from transprune.cost.count import Convention, Cost, count_method
from transprune.cost.geometry import Geometry
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.method import Method

TOLERANCE = 0.01  # of the unpruned prefill
LEAST_SHARE = 1 / 16
_RANGE = (1e-4, 1e4)
_HALVINGS = 24  # to a millionth
_AIMS, _NEAR, _HIGHEST_AIM = 5, 0.003, 0.98

Measure = Callable[[Method], float]


@dataclass(frozen=True)
class Prompt:
    """What budgets are counted for: a language model and a nominal prompt (medians of the questions)."""

    geometry: Geometry
    visual_tokens: int
    text_tokens: int
    instruction_tokens: int

    def cost(self, method: Method, convention: Convention = "exact") -> Cost:
        """The bill of a method on this prompt."""
        return count_method(
            self.geometry,
            method,
            self.visual_tokens,
            self.text_tokens,
            convention,
            instruction=self.instruction_tokens,
        )

    def share(self, method: Method) -> float:
        """Its `exact` prefill relative to unpruned."""
        return self.cost(method).prefill_share

    def tokens(self, method: Method) -> tuple[int, ...]:
        """Visual tokens planned to enter each layer."""
        layers = self.geometry.layers
        return per_layer(layers, self.visual_tokens, tuple(method.plan(layers, self.visual_tokens)))


@dataclass(frozen=True)
class Fit:
    """A method fitted to a budget.

    Attributes:
        method: the one to run.
        share: its planned `exact` share.
        reached: whether that is within one point of the budget.
        note: what was changed beyond the amounts, or why the budget is not reached; empty if nothing.
    """

    method: Method
    share: float
    reached: bool
    note: str = ""


def fit(method: Method, budget: float, prompt: Prompt, *, move: bool = True) -> Fit:
    """The method at `budget`, a share of the unpruned prefill in (0, 1).

    Args:
        method, budget, prompt: what to fit to what.
        move: whether it may start earlier; False where its boundaries are what is being compared.

    Raises:
        MethodError: the method does not say how it scales, or does not fit the model.
    """
    best: Fit | None = None
    for layers, start in _starts(method, prompt, move):
        found = _scale(start, budget, prompt)
        share = prompt.share(found)
        candidate = Fit(
            found, share, abs(share - budget) <= TOLERANCE, _moved(method, found, layers, prompt)
        )
        if best is None or _preferred(candidate, best, budget, prompt):
            best = candidate
        if (
            candidate.reached
            and _last(candidate.method, prompt) >= LEAST_SHARE * prompt.visual_tokens
        ):
            best = candidate
            break
    assert best is not None  # there is always the start as given
    return best if best.reached else replace(best, note=_unreached(best, budget))


def fit_measured(
    method: Method, budget: float, prompt: Prompt, measure: Measure, *, move: bool = True
) -> Fit:
    """`fit` for a method that lets the picture decide how much stays: aimed until what is measured is the budget.

    Such a method plans an upper bound (`Stage.at_most`). What it really costs is measured on some of the questions,
    whose answers nobody looks at, and the aim is corrected in proportion, a few times.
    """
    aim, best = budget, None
    for _ in range(_AIMS):
        found = fit(method, aim, prompt, move=move)
        share = measure(found.method)
        if best is None or abs(share - budget) < abs(best.share - budget):
            best = Fit(
                found.method,
                share,
                abs(share - budget) <= TOLERANCE,
                found.note if found.reached else "",
            )
        if abs(best.share - budget) <= _NEAR:
            break
        aim = min(_HIGHEST_AIM, aim * budget / share)
    assert best is not None
    note = "how much stays depends on the picture; fitted to what was measured"
    missed = (
        "" if best.reached else f"{budget:.0%} cannot be reached: {best.share:.1%} is the nearest"
    )
    return replace(best, note="; ".join(filter(None, [missed, note, best.note])))


def lets_data_decide(method: Method, prompt: Prompt) -> bool:
    """Whether the plan of a method is an upper bound only."""
    return any(stage.at_most for stage in method.plan(prompt.geometry.layers, prompt.visual_tokens))


def _starts(method: Method, prompt: Prompt, move: bool) -> Iterator[tuple[int, Method]]:
    """The method as given, and with its boundaries earlier and earlier."""
    yield 0, method
    num_layers = prompt.geometry.layers
    if not move or any(
        stage.boundary == 0 for stage in method.plan(num_layers, prompt.visual_tokens)
    ):
        return
    for layers in range(1, num_layers):
        try:
            yield layers, method.shifted_earlier(layers, num_layers)
        except ScheduleError:
            return


def _scale(method: Method, budget: float, prompt: Prompt) -> Method:
    """The scaled method whose share is nearest to the budget."""
    low, high = _RANGE
    if prompt.share(method.scaled_by(low)) > budget:
        return method.scaled_by(low)
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (
            (middle, high) if prompt.share(method.scaled_by(middle)) <= budget else (low, middle)
        )
    ends = [method.scaled_by(low), method.scaled_by(high)]
    return min(ends, key=lambda end: abs(prompt.share(end) - budget))


def _preferred(new: Fit, old: Fit, budget: float, prompt: Prompt) -> bool:
    """Reached before unreached, then more tokens at the last stage, then, if neither reaches, the nearer."""
    if new.reached != old.reached:
        return new.reached
    if new.reached:
        return _last(new.method, prompt) > _last(old.method, prompt)
    return abs(new.share - budget) < abs(old.share - budget)


def _last(method: Method, prompt: Prompt) -> int:
    return prompt.tokens(method)[-1]


def _boundaries(method: Method, prompt: Prompt) -> str:
    return ", ".join(
        str(stage.boundary) for stage in method.plan(prompt.geometry.layers, prompt.visual_tokens)
    )


def _moved(method: Method, found: Method, layers: int, prompt: Prompt) -> str:
    if layers == 0:
        return ""
    before, after = _boundaries(method, prompt), _boundaries(found, prompt)
    return f"starts earlier to reach this budget: boundaries {before} became {after}"


def _unreached(best: Fit, budget: float) -> str:
    side = "cheapest" if best.share > budget else "dearest"
    reason = f"{budget:.0%} cannot be reached: {best.share:.1%} is its {side} setting here"
    return "; ".join(filter(None, [reason, best.note]))


def parse_budgets(text: str) -> tuple[float | None, ...]:
    """`"60,41"` (percent of the unpruned prefill) and `"own"` (as the method is) to shares and None.

    Raises:
        MethodError: anything else.
    """
    budgets: list[float | None] = []
    for part in filter(None, (part.strip().removesuffix("%") for part in text.split(","))):
        try:
            budget = None if part == "own" else float(part) / 100
        except ValueError:
            budget = 0.0
        if budget is not None and not 0 < budget < 1:
            raise MethodError(
                f"budgets are percent of the unpruned prefill, as '60,41,20', or 'own'; got {part!r}"
            )
        budgets.append(budget)
    if not budgets:
        raise MethodError("give at least one budget, as '41', or 'own' for the methods as they are")
    return tuple(dict.fromkeys(budgets))
