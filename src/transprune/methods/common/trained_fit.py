"""Find the weights of a trained method, and check that they belong to this model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from warnings import warn

from transprune.errors import PruneWarning, WeightsError
from transprune.methods.common.trained_weights import Fit, TrainedWeights, load_weights

FOLDER = "pruners"  # beside a checkpoint: weights that are found by themselves


def find_weights(method: str, given: str | None, checkpoint: str) -> TrainedWeights:
    """The weights of a method: those that are given, else those beside the checkpoint.

    Args:
        method: its name.
        given: the folder of its setting `weights`, or None.
        checkpoint: folder or hub id of the model.

    Raises:
        WeightsError: there are none, or they cannot be read.
    """
    if given is not None:
        return load_weights(given)

    beside = Path(checkpoint) / FOLDER / method
    if checkpoint and beside.is_dir():
        return load_weights(beside)

    raise WeightsError(
        f"{method} is a trained method, and no weights come with this model; its authors have "
        f"released none. Train some on your questions with `transprune train-pruner --method "
        f"{method} --model MODEL --questions FILE --out FOLDER`, and give them as "
        f"`{method}:weights=FOLDER`"
    )


def check_fit(weights: TrainedWeights, here: Fit, boundaries: Sequence[int]) -> None:
    """Refuse weights that were trained for something else.

    Args:
        weights: as they were read.
        here: what the method and this model need.
        boundaries: where the method needs a module.

    Raises:
        WeightsError: another method, model type, width or depth, or no module at a boundary.
    """
    trained = weights.fit
    # weights that name no type of model go with any whose sizes fit
    names = ["method", "width", "layers", "inner", "outputs"]
    if trained.model_type is not None:
        names.insert(1, "model_type")

    differing = []
    for name in names:
        expected, came = getattr(here, name), getattr(trained, name)
        if expected != came:
            differing.append(f"{name} {came}, here {expected}")

    if differing:
        raise WeightsError(
            f"these weights were trained for something else ({'; '.join(differing)}); give those "
            f"of {here.method} for this model, or train them with `transprune train-pruner`"
        )

    missing = [boundary for boundary in boundaries if boundary not in weights.modules]
    if missing:
        raise WeightsError(
            f"{here.method} prunes at boundaries {', '.join(map(str, missing))}, for which these "
            f"weights have no module; they have {', '.join(map(str, sorted(weights.modules)))}. "
            "Ratios are free, boundaries are those of the training"
        )

    _check_digest(trained, here)


def _check_digest(trained: Fit, here: Fit) -> None:
    """Warn where another model of the same type and size was trained on."""
    if trained.digest and here.digest and trained.digest != here.digest:
        warn(
            f"these weights of {here.method} were trained on another {here.model_type} of the same "
            "size: its word embeddings differ. Compare its answers with those of `random` before "
            "you use it",
            PruneWarning,
            stacklevel=2,
        )
