"""What the trials of a search found, read from its study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transprune.core import strict_json
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import from_dict

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Tried:
    """One finished trial.

    Attributes:
        number: of the trial.
        cost: share or milliseconds.
        loss: mean over the questions it was asked.
        method: the setting.
        stopped: whether it was stopped early, as worse than the median of the others.
        base: the recipe text it started from.
    """

    number: int
    cost: float
    loss: float
    method: Method
    stopped: bool
    base: str


def finished(study: Study) -> list[FrozenTrial]:
    """Trials that ran, to their end or until they were stopped."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def tried(study: Study) -> list[Tried]:
    """Every trial that has a loss, in order."""
    from optuna.trial import TrialState

    found = []
    for trial in finished(study):
        notes = trial.user_attrs
        if "loss" not in notes:
            continue

        found.append(
            Tried(
                number=trial.number,
                cost=notes["cost"],
                loss=notes["loss"],
                method=_method(notes["recipe"]),
                stopped=trial.state == TrialState.PRUNED,
                base=notes["base"],
            )
        )

    return found


def refusals(study: Study) -> list[str]:
    """Why settings could not run, each reason once."""
    reasons = [trial.user_attrs.get("refused", "") for trial in finished(study)]
    return list(dict.fromkeys(filter(None, reasons)))


def front(trials: Sequence[Tried]) -> list[Tried]:
    """Trials that no other beats in both cost and loss, cheapest first; stopped ones left out."""
    complete = [trial for trial in trials if not trial.stopped]
    best: list[Tried] = []
    for trial in sorted(complete, key=lambda one: (one.cost, one.loss)):
        if not best or trial.loss < best[-1].loss:
            best.append(trial)
    return best


def _method(recipe: str) -> Method:
    method = from_dict(strict_json.read(recipe))
    assert isinstance(method, Method)  # every registered recipe is one
    return method
