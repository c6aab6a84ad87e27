"""The trials, one after the other.

The sampler of each trial is seeded by the number of trials finished before it. So a search that was
stopped and continued tries the very settings of an undisturbed one; a trial that was cut off runs
again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from transprune.bench.run.budgets import Fit
from transprune.core import strict_json
from transprune.errors import MethodError, PruneError, TuneError
from transprune.methods.common.method import Method
from transprune.tune.budget import Budget, Meter
from transprune.tune.journal import RANDOM_TRIALS
from transprune.tune.space import Base
from transprune.tune.tried import finished

if TYPE_CHECKING:
    from optuna import Study, Trial

NOT_FINITE = "hidden states or logits of the pruned model overflow; try --dtype float32 or bfloat16"
STARTED = "starting points are in the queue"
_SEED_STEP = 1_000_003  # a prime above any number of trials

Batch = Callable[[Method, int], list[float]]  # losses of a method on one batch


def run_trials(
    study: Study,
    bases: Sequence[Base],
    meter: Meter,
    budget: Budget,
    losses: Batch,
    batches: int,
    *,
    trials: int,
    seed: int,
    on_trial: Callable[[int, int, str], None],
) -> None:
    """Try settings until `trials` have been tried in all.

    Args:
        study: as `open_study` gives it.
        bases: the starting points, each of which is tried first.
        meter: brings a setting to the budget.
        budget: one budget, or a range.
        losses: the losses of a method on batch number i.
        batches: how many batches there are.
        trials: how many settings are tried, those in the study counted.
        seed: seed of the search.
        on_trial: called with the number done, the number in all, and a note.
    """
    import optuna

    if STARTED not in study.user_attrs:
        enqueue_starts(study, bases, meter, budget)
        study.set_user_attr(STARTED, True)
    while (done := len(finished(study))) < trials:
        on_trial(done, trials, _best_note(study, budget))
        # a sampler's state is not stored, so each trial has a seed of its own and a resumed study
        # goes on alike
        seed_now = seed * _SEED_STEP + done
        study.sampler = optuna.samplers.TPESampler(seed=seed_now, n_startup_trials=RANDOM_TRIALS)

        trial = study.ask()
        values = _try(trial, bases, meter, budget, losses, batches)
        if values is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, values)

    on_trial(done, trials, _best_note(study, budget))


def enqueue_starts(study: Study, bases: Sequence[Base], meter: Meter, budget: Budget) -> None:
    """Make each base itself, brought to the budget, one of the first trials."""
    for number, base in enumerate(bases):
        fitted = meter.fit(base.method, budget.high, move=True)
        parameters = {"method": number, **base.start(fitted.method)}
        if budget.is_range:
            parameters["budget"] = budget.high
        study.enqueue_trial(parameters, skip_if_exists=True)


def _try(
    trial: Trial,
    bases: Sequence[Base],
    meter: Meter,
    budget: Budget,
    losses: Batch,
    batches: int,
) -> list[float] | None:
    """Loss of a trial (behind its cost, for a range); None if it was stopped or cannot be."""
    chosen = 0
    if len(bases) > 1:
        chosen = trial.suggest_categorical("method", list(range(len(bases))))

    base = bases[chosen]
    amount = budget.high
    if budget.is_range:
        amount = trial.suggest_float("budget", budget.low, budget.high)

    try:
        fitted = meter.fit(base.draw(trial, meter.share_of(amount)), amount)
        if not fitted.reached:
            return None
        _note(trial, fitted, base)
        loss = _loss(trial, fitted.method, losses, batches, may_stop=not budget.is_range)
    except TuneError:
        raise
    except PruneError as error:
        # settings that do not go together, or that this model cannot run
        trial.set_user_attr("refused", str(error))
        return None

    if loss is None:
        return None
    return [fitted.share, loss] if budget.is_range else [loss]


def _note(trial: Trial, fitted: Fit, base: Base) -> None:
    """Write the setting of a trial into the journal."""
    trial.set_user_attr("recipe", strict_json.write(fitted.method.to_dict()))
    trial.set_user_attr("cost", fitted.share)
    trial.set_user_attr("base", base.text)


def _loss(
    trial: Trial, method: Method, losses: Batch, batches: int, *, may_stop: bool
) -> float | None:
    """Mean loss over all batches; None if the trial is stopped before the last one.

    Raises:
        MethodError: a loss that is not a number.
    """
    found: list[float] = []
    for number in range(batches):
        found += losses(method, number)
        mean = sum(found) / len(found)
        # Optuna takes such a trial for one that failed, and the search would try it without end
        if not math.isfinite(mean):
            raise MethodError(f"its loss is {mean}: {NOT_FINITE}")

        trial.set_user_attr("loss", mean)

        # Optuna stops no trial of several objectives
        if may_stop:
            trial.report(mean, number)
            if number < batches - 1 and trial.should_prune():
                return None

    return mean


def _best_note(study: Study, budget: Budget) -> str:
    """The best loss so far, for the progress."""
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete or budget.is_range:
        return f"{len(complete)} complete"
    return f"best loss {min(trial.user_attrs['loss'] for trial in complete):.4f}"
