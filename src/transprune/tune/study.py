"""The trials: an Optuna study in a journal file, one trial after the other.

The sampler of each trial is seeded by the number of trials finished before it. So a search that was
stopped and continued tries the very settings of an undisturbed one; a trial that was cut off runs
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transprune.bench.run.budgets import Fit
from transprune.core import strict_json
from transprune.errors import MissingExtra, PruneError, TuneError
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import from_dict
from transprune.tune.budget import Budget, Meter
from transprune.tune.space import Base

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

JOURNAL_FILE = "study.journal"
NAME = "tune"

# the first trials are drawn at random and never stopped
RANDOM_TRIALS = 10
_SEED_STEP = 1_000_003  # a prime above any number of trials

Batch = Callable[[Method, int], list[float]]  # losses of a method on one batch


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


def need_optuna() -> None:
    """Raise MissingExtra unless optuna is installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingExtra("searches need optuna: pip install 'transprune[tune]'") from error


def open_study(folder: Path, budget: Budget) -> Study:
    """The study of a folder, made if it is not there.

    Raises:
        TuneError: its file is damaged.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = folder / JOURNAL_FILE
    drop_incomplete_line(file)
    directions: list[Literal["minimize", "maximize"]] = ["minimize"]
    if budget.is_range:
        directions.append("minimize")  # cost and loss
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name=NAME,
            directions=directions,
            load_if_exists=True,
            # a trial is compared from its second batch on
            pruner=optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=1),
        )
    except (ValueError, KeyError, OSError) as error:
        raise TuneError(
            f"{file} cannot be used ({error}); remove the folder to begin anew, or give another "
            "--out"
        ) from error

    _restart_cut_off(study)
    return study


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

    enqueue_starts(study, bases, meter, budget)
    while (done := len(finished(study))) < trials:
        on_trial(done, trials, _best_note(study, budget))
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
        fitted = meter.fit(base.draw(trial), amount)
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
    """Mean loss over all batches; None if the trial is stopped before the last one."""
    found: list[float] = []
    for number in range(batches):
        found += losses(method, number)
        mean = sum(found) / len(found)
        trial.set_user_attr("loss", mean)

        # Optuna stops no trial of several objectives
        if may_stop:
            trial.report(mean, number)
            if number < batches - 1 and trial.should_prune():
                return None
    return mean


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


def _method(recipe: str) -> Method:
    method = from_dict(strict_json.read(recipe))
    assert isinstance(method, Method)  # every registered recipe is one
    return method


def front(trials: Sequence[Tried]) -> list[Tried]:
    """Trials that no other beats in both cost and loss, cheapest first; stopped ones left out."""
    complete = [trial for trial in trials if not trial.stopped]
    best: list[Tried] = []
    for trial in sorted(complete, key=lambda one: (one.cost, one.loss)):
        if not best or trial.loss < best[-1].loss:
            best.append(trial)
    return best


def drop_incomplete_line(file: Path) -> None:
    """Cut off what a killed process left behind the last complete line."""
    if not file.exists():
        return
    with file.open("rb+") as stream:
        content = stream.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            stream.truncate(end)


def _restart_cut_off(study: Study) -> None:
    """Close trials that a killed process left running; a starting point is tried again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        fixed = trial.system_attrs.get("fixed_params")
        if fixed:
            study.enqueue_trial(fixed)


def _best_note(study: Study, budget: Budget) -> str:
    """The best loss so far, for the progress."""
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete or budget.is_range:
        return f"{len(complete)} complete"
    return f"best loss {min(trial.user_attrs['loss'] for trial in complete):.4f}"
