"""Trials: the methods and budgets that are asked for, turned into what runs.

The default list is whatever is registered, with presets, so a new method joins by itself. Methods that come to the same
choice at a budget (a preset that differs in its amounts only) run once and share their row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from transprune.bench.data.manifest import Condition
from transprune.bench.data.tasks import Item
from transprune.bench.results.summary import UNPRUNED
from transprune.bench.run.ablations import ablations
from transprune.bench.run.budgets import Fit, Measure, Prompt, fit, fit_measured, lets_data_decide
from transprune.bench.run.oracle import Oracle
from transprune.errors import BenchError, FamilyError, MethodError
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import METHODS, preset_names, resolve

ORACLES = {"oracle": Oracle(), "oracle-0": Oracle.at_start()}
QUICK = ("transprune", "fastv", "pdrop", "visionzip", "divprune", "random", "uniform", *ORACLES)
ABLATION_BUDGET = 0.41
DRAWS = 8  # a method that draws at random draws anew for every eighth image, so that no one draw decides


@dataclass(frozen=True)
class Trial:
    """A condition and the method that runs under it; None is the unpruned model."""

    condition: Condition
    method: Method | None

    @property
    def draws(self) -> bool:
        """Whether the method draws at random and is told nothing about the question."""
        return hasattr(self.method, "seed") and not isinstance(self.method, Oracle)

    def bind(self, items: Sequence[Item], draw: int) -> Method | None:
        """The method for one batch: with the draw's seed, and for an oracle with what the questions are about."""
        method = self.method
        if isinstance(method, Oracle):
            return method.bind(items)
        if method is None or not self.draws:
            return method
        return _with_seed(method, getattr(method, "seed") + draw)  # noqa: B009


def default_methods(*, oracle: bool = True) -> tuple[str, ...]:
    """Every registered method that can be built without arguments, with its presets, and the oracles."""
    names = []
    for name in [*METHODS, *preset_names()]:
        try:
            control = resolve(name).paper == "control"
        except MethodError:  # it needs arguments, as a composition does
            continue
        if not (control and "-" in name):  # a control's presets differ in amounts only
            names.append(name)
    return (*names, *(ORACLES if oracle else ()))


def plan_trials(
    methods: Sequence[str],
    budgets: Sequence[float | None],
    prompt: Prompt,
    *,
    seed: int = 0,
    ablate: bool = False,
    measure: Measure | None = None,
) -> list[Trial]:
    """The unpruned model, then every method at every budget, then the ablations.

    Args:
        methods, budgets: what is asked for.
        prompt: what budgets are counted for.
        seed: of methods that draw.
        ablate: whether the ablations are asked for too.
        measure: the `exact` share a method really costs, for those that let the picture decide; None takes their plan.

    Raises:
        BenchError: a method that cannot run here at all, or cannot be brought to a budget.
        UnknownMethod, MethodError: what no method is.
    """
    trials = [_unpruned(prompt)]
    for budget in budgets:
        found: list[Trial] = []
        for name in methods:
            trial = _trial(
                name, _group(name), _seeded(_resolve(name), seed), budget, prompt, measure=measure
            )
            _add(found, trial)
        trials += found
    if ablate:
        budget = ABLATION_BUDGET if ABLATION_BUDGET in budgets else budgets[0]
        for group, variants in ablations(prompt.geometry.layers).items():
            for name, method in variants.items():
                _add(
                    trials,
                    _trial(
                        f"transprune/{name}",
                        f"ablation: {group}",
                        method,
                        budget,
                        prompt,
                        move=False,
                    ),
                )
    return trials


def _resolve(name: str) -> Method:
    return ORACLES[name] if name in ORACLES else resolve(name)


def _seeded(method: Method, seed: int) -> Method:
    return _with_seed(method, seed * DRAWS) if hasattr(method, "seed") and seed else method


def _with_seed(method: Method, seed: int) -> Method:
    changes: dict[str, Any] = {"seed": seed}
    return replace(method, **changes)


def _group(name: str) -> str:
    return "controls" if _resolve(name).paper == "control" else "methods"


def _unpruned(prompt: Prompt) -> Trial:
    tokens = (prompt.visual_tokens,) * prompt.geometry.layers
    return Trial(
        Condition(UNPRUNED, UNPRUNED, UNPRUNED, None, UNPRUNED, None, 1.0, 1.0, tokens), None
    )


def _fit(
    method: Method, budget: float | None, prompt: Prompt, move: bool, measure: Measure | None
) -> Fit:
    if budget is None:
        return Fit(method, prompt.share(method), True)
    if measure is not None and lets_data_decide(method, prompt):
        try:
            return fit_measured(method, budget, prompt, measure, move=move)
        except FamilyError:  # it cannot run on this model, which is said elsewhere
            pass
    return fit(method, budget, prompt, move=move)


def _trial(
    name: str,
    group: str,
    method: Method,
    budget: float | None,
    prompt: Prompt,
    *,
    move: bool = True,
    measure: Measure | None = None,
) -> Trial:
    try:
        fitted = _fit(method, budget, prompt, move, measure)
        paper, tokens = (
            prompt.cost(fitted.method, "paper").prefill_share,
            prompt.tokens(fitted.method),
        )
    except MethodError as error:
        raise BenchError(f"{name} cannot run here: {error}") from error
    label = name if budget is None else f"{name}@{100 * budget:g}"
    recipe = None if isinstance(method, Oracle) else fitted.method.to_dict()
    condition = Condition(
        name=label,
        method=name,
        group=group,
        budget=budget,
        method_repr=repr(fitted.method),
        recipe=recipe,
        exact_share=fitted.share,
        paper_share=paper,
        tokens=tokens,
        reached=fitted.reached,
        note=fitted.note,
    )
    return Trial(condition, fitted.method)


def _add(trials: list[Trial], new: Trial) -> None:
    """Append, or note the name at the trial that does the same."""
    for number, old in enumerate(trials):
        if _same(old, new):
            also = (*old.condition.also, new.condition.method)
            trials[number] = replace(old, condition=replace(old.condition, also=also))
            return
    trials.append(new)


def _same(old: Trial, new: Trial) -> bool:
    """The same class with the same tokens everywhere, and all that is no amount alike."""
    a, b = old.method, new.method
    if (
        type(a) is not type(b)
        or a is None
        or b is None
        or old.condition.tokens != new.condition.tokens
    ):
        return False
    names = [
        f.name for f in fields(a) if f.compare and f.name not in (*a.budget_fields, "positions")
    ]
    return a.policy == b.policy and all(getattr(a, name) == getattr(b, name) for name in names)
