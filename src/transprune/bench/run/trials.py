"""Trials: the requested methods and budgets as conditions, each with the method that runs.

The default list is every registered method with its presets, so a new method is included
automatically. Requested names that make the same choice at a budget (a preset that differs in its
budget fields only) run once and share their row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from transprune.bench.data.manifest import Condition
from transprune.bench.data.tasks import Item
from transprune.bench.run.ablations import ablations
from transprune.bench.run.budgets import Fit, Measure, fit, fit_measured, has_variable_count
from transprune.bench.run.nominal import NominalPrompt
from transprune.bench.run.oracle import Oracle
from transprune.core.plan import UNPRUNED
from transprune.errors import BenchError, FamilyError, MethodError
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import METHODS, preset_names, resolve
from transprune.methods.common.surplus import surplus_notes

ORACLES = {"oracle": Oracle(), "oracle-0": Oracle.at_start()}
QUICK = ("transprune", "fastv", "pdrop", "visionzip", "divprune", "random", "uniform", *ORACLES)
ABLATION = "ablation: "  # how the group of an ablation begins; its name follows
ABLATION_BUDGET = 0.41
DRAWS = 8  # seeds of a random method; images take turns, so that no single draw decides


@dataclass(frozen=True)
class Trial:
    """A condition and the method that runs under it; None is the unpruned model."""

    condition: Condition
    method: Method | None

    @property
    def draws(self) -> bool:
        """Whether the method draws at random, with a seed that changes from image to image."""
        return hasattr(self.method, "seed") and not isinstance(self.method, Oracle)

    def bind(self, items: Sequence[Item], draw: int) -> Method | None:
        """The method for one batch.

        Args:
            items: the questions; an oracle is given their target tokens.
            draw: number of the draw, added to the seed of a method that draws at random.
        """
        method = self.method
        if isinstance(method, Oracle):
            return method.bind(items)
        if method is None or not self.draws:
            return method
        return _with_seed(method, getattr(method, "seed") + draw)  # noqa: B009


@dataclass(frozen=True)
class _Planner:
    """What all trials of a run are planned for: prompt, seed, and a way to measure shares."""

    prompt: NominalPrompt
    seed: int
    measure: Measure | None

    def unpruned(self) -> Trial:
        """The unpruned model, to which everything is compared."""
        condition = Condition(
            name=UNPRUNED,
            method=UNPRUNED,
            group=UNPRUNED,
            budget=None,
            method_repr=UNPRUNED,
            recipe=None,
            exact_share=1.0,
            paper_share=1.0,
            tokens=(self.prompt.visual_tokens,) * self.prompt.geometry.layers,
        )

        return Trial(condition, None)

    def named(self, name: str, budget: float | None) -> Trial:
        """The trial of a registered method, a recipe or an oracle."""
        method = ORACLES[name] if name in ORACLES else resolve(name)
        group = "controls" if method.paper == "control" else "methods"

        # every seed of a run has its own draws
        if hasattr(method, "seed") and self.seed:
            method = _with_seed(method, self.seed * DRAWS)
        return self.trial(name, group, method, budget)

    def trial(
        self, name: str, group: str, method: Method, budget: float | None, *, move: bool = True
    ) -> Trial:
        """The trial of a method at a budget; `move` as in `budgets.fit`."""
        try:
            fitted = self._fit(method, budget, move)
            paper = self.prompt.cost(fitted.method, "paper")
            tokens = self.prompt.tokens(fitted.method)
        except MethodError as error:
            raise BenchError(f"{name} cannot run here: {error}") from error

        condition = Condition(
            name=name if budget is None else f"{name}@{100 * budget:g}",
            method=name,
            group=group,
            budget=budget,
            method_repr=repr(fitted.method),
            recipe=None if isinstance(method, Oracle) else fitted.method.to_dict(),
            exact_share=fitted.share,
            paper_share=paper.prefill_share,
            tokens=tokens,
            reached=fitted.reached,
            note="; ".join(filter(None, (fitted.note, *self._surplus(fitted.method, budget)))),
        )
        return Trial(condition, fitted.method)

    def _surplus(self, method: Method, budget: float | None) -> tuple[str, ...]:
        """Sentences about own settings that drop nothing; a budget is fitted, so it drops some."""
        if budget is not None:
            return ()
        return surplus_notes(method, self.prompt.geometry.layers, self.prompt.visual_tokens)

    def _fit(self, method: Method, budget: float | None, move: bool) -> Fit:
        if budget is None:
            return Fit(method, self.prompt.share(method), reached=True)

        # ablations compare boundaries and other settings as planned, so they are never measured
        if self.measure is not None and move and has_variable_count(method, self.prompt):
            try:
                return fit_measured(method, budget, self.prompt, self.measure)
            except FamilyError:
                pass  # it cannot run on this model; `launch` reports that
        return fit(method, budget, self.prompt, move=move)


def default_methods(*, oracle: bool = True) -> tuple[str, ...]:
    """Every registered method that needs no arguments, with its presets, and the oracles."""
    names = []
    for name in [*METHODS, *preset_names()]:
        try:
            method = resolve(name)
        except MethodError:  # it needs arguments, as a composition does
            continue

        # the presets of a control differ in their budget fields only
        if method.paper != "control" or "-" not in name:
            names.append(name)

    if oracle:
        names += ORACLES
    return tuple(names)


def plan_trials(
    methods: Sequence[str],
    budgets: Sequence[float | None],
    prompt: NominalPrompt,
    *,
    seed: int = 0,
    ablate: bool = False,
    measure: Measure | None = None,
) -> list[Trial]:
    """The unpruned model, then every method at every budget, then the ablations.

    Args:
        methods: names, presets, recipes or oracles.
        budgets: shares of the unpruned prefill; None runs a method with its own settings.
        prompt: the prompt that budgets are counted for.
        seed: seed of methods that draw at random.
        ablate: whether to add the ablations.
        measure: measures the `exact` share of a method whose token count depends on the picture;
            None uses its plan.

    Raises:
        BenchError: a method that cannot run here at all, or cannot be brought to a budget.
        UnknownMethod, MethodError: an unknown or invalid method.
    """
    planner = _Planner(prompt, seed, measure)
    trials = [planner.unpruned()]

    # merged within one budget only: the same method at two budgets is two conditions
    for budget in budgets:
        at_budget: list[Trial] = []
        for name in methods:
            _add(at_budget, planner.named(name, budget))
        trials += at_budget

    if ablate:
        _add_ablations(trials, planner, budgets)
    return trials


def own_trials(methods: Mapping[str, Method], prompt: NominalPrompt) -> list[Trial]:
    """The unpruned model, then each method under its name, with its own settings.

    Raises:
        BenchError: a method that cannot run on this model; it is named.
    """
    planner = _Planner(prompt, seed=0, measure=None)
    trials = [planner.unpruned()]
    for name, method in methods.items():
        trials.append(planner.trial(name, "methods", method, None))
    return trials


def _add_ablations(trials: list[Trial], planner: _Planner, budgets: Sequence[float | None]) -> None:
    """Add the ablations, all at one budget."""
    budget = ABLATION_BUDGET if ABLATION_BUDGET in budgets else budgets[0]
    layers = planner.prompt.geometry.layers

    for group, variants in ablations(layers).items():
        for variant, method in variants.items():
            # boundaries are what some groups compare, so they do not move
            name = f"transprune/{variant}"
            _add(trials, planner.trial(name, f"{ABLATION}{group}", method, budget, move=False))


def _with_seed(method: Method, seed: int) -> Method:
    # the base class has no such field, which replace() would refuse to type-check
    changes: dict[str, Any] = {"seed": seed}
    return replace(method, **changes)


def _add(trials: list[Trial], new: Trial) -> None:
    """Append a trial, or add its name to the one that does the same."""
    for number, old in enumerate(trials):
        if _makes_same_choice(old, new):
            also = (*old.condition.also, new.condition.method)
            trials[number] = replace(old, condition=replace(old.condition, also=also))
            return
    trials.append(new)


def _makes_same_choice(old: Trial, new: Trial) -> bool:
    """Same class, same token plan, and equal settings apart from the budget fields."""
    one = old.method
    other = new.method
    if one is None or other is None or type(one) is not type(other):
        return False

    # positions None means the class's default, so the policy in force is compared instead
    if old.condition.tokens != new.condition.tokens or one.policy != other.policy:
        return False

    ignored = (*one.budget_fields, "positions")
    compared = [f.name for f in fields(one) if f.compare and f.name not in ignored]
    return all(getattr(one, name) == getattr(other, name) for name in compared)
