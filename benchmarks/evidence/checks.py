"""What may stand in one column: one model, its own questions, the test split, the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transprune.bench.data.manifest import Settings, read_manifest
from transprune.bench.data.provenance import fingerprint
from transprune.errors import BenchError

from .ladder import LADDERS, Ladder


def check_runs(name: str, folders: Sequence[Path]) -> str:
    """Refuse runs that do not belong together; return the fingerprint of their weights.

    Args:
        name: of the model.
        folders: its runs.

    Raises:
        BenchError: no such model, no run, or a run of another model, its weights, questions or split.
        RecordError: a folder without a run.
    """
    if name not in LADDERS:
        raise BenchError(f"no ladder {name!r}; known: {', '.join(LADDERS)}")
    if not folders:
        raise BenchError(f"give the runs of `transprune bench --model {name}`, at least one")

    found = [read_manifest(folder).settings for folder in folders]
    for folder, settings in zip(folders, found, strict=True):
        check_settings(name, settings, folder)
        if settings.weights != found[0].weights:
            raise BenchError(
                f"{folder} has other weights ({settings.weights}) than {folders[0]} "
                f"({found[0].weights})"
            )
    return found[0].weights


def check_settings(name: str, settings: Settings, folder: Path) -> None:
    """Refuse figures of another model or its questions, or of scenes on which choices were made.

    Raises:
        BenchError: that is what the run is.
    """
    if (settings.model, settings.tasks) != (name, name):
        raise BenchError(
            f"{folder} is a run of {settings.model} on the tasks {settings.tasks}; expected {name} on "
            "its own"
        )
    if settings.split != "test":
        raise BenchError(
            f"{folder} has scenes of the split {settings.split!r}; evidence needs the test split"
        )


def check_signal(name: str, weights: str, old: Ladder, pictures: int) -> None:
    """Refuse layers of other weights than those of the runs.

    Args:
        name: of the model.
        weights: fingerprint of those of the runs.
        old: what was measured before.
        pictures: for the signal; with 0 that of `old` is kept.

    Raises:
        BenchError: the model that would be measured, or was, has other weights.
    """
    if pictures:
        known = {fingerprint(name)}
    elif old.signal is not None:
        known = {source.weights for source in old.sources}
    else:
        return

    if known != {weights}:
        raise BenchError(
            f"the runs are of the weights {weights}, the layers of {', '.join(sorted(known))}; measure "
            "both with the same model"
        )


def check_added(weights: str, old: Ladder) -> None:
    """Refuse further runs where nothing was measured, or with other weights.

    Raises:
        BenchError: that is what they are.
    """
    if not old.measured:
        raise BenchError(f"nothing was measured of {old.name} yet, so measure it without --add")

    known = {source.weights for source in old.sources}
    if known != {weights}:
        raise BenchError(
            f"the further runs are of the weights {weights}, what was measured before of "
            f"{', '.join(sorted(known))}; measure all of it with the same model"
        )
