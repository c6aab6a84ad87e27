"""The journal of a search: an Optuna study in a file that a killed process leaves usable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transprune.errors import MissingExtra, TuneError
from transprune.tune.budget import Budget

if TYPE_CHECKING:
    from optuna import Study

JOURNAL_FILE = "study.journal"
NAME = "tune"

# the first trials are drawn at random and never stopped
RANDOM_TRIALS = 10


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
