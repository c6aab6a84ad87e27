"""The weights of a model, as `transprune doctor` reports them."""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from transprune.cli.units import mebibytes

FOREIGN = 0.5  # share of a model's weights without a counterpart from which on files are another's


def check_weights(source: str, skeleton: Any, load_weights: bool) -> str:
    """`"complete"` after loading them; else what their files show.

    Args:
        source: `"nano"`, a folder or a hub id.
        skeleton: the model without memory for its weights.
        load_weights: load them, and prove a model of an unlisted type.

    Raises:
        CheckpointError: they are not complete.
        UnknownFamily: the model is of an unlisted type, and pruning it is not right.
    """
    from transprune.families import find_family
    from transprune.models.checkpoint import load
    from transprune.session import prune

    if not load_weights:
        return _weight_files(source, skeleton)

    model = load(source).model
    family = find_family(model)
    family.prove(model, partial(prune, model, positions="keep"))
    return "complete"


def _weight_files(source: str, skeleton: Any) -> str:
    """Number and size of the weight files, and whether they seem to be those of another model."""
    from transprune.models.source import locate

    place = Path(locate(source))
    if not place.is_dir():
        return "on the hub, not checked (--load fetches and checks them)"

    # *.bin: checkpoints from before safetensors
    files = [*place.glob("*.safetensors"), *place.glob("*.bin")]
    if not files:
        return "none in this folder"

    size = sum(file.stat().st_size for file in files)
    plural = "" if len(files) == 1 else "s"
    found = f"{len(files)} file{plural}, {mebibytes(size)}"
    return f"{found}{_foreign(place, skeleton) or ' (--load checks them)'}"


def _foreign(folder: Path, skeleton: Any) -> str:
    """What speaks for the weights of another model, or nothing.

    Shapes are compared and not names, which change from release to release.
    """
    from transprune.models.weights import stored_shapes

    stored = Counter(stored_shapes(folder))
    if not stored or hasattr(skeleton.config, "quantization_config"):
        return ""  # packed weights have shapes of their own

    wanted = Counter(tuple(weight.shape) for weight in skeleton.parameters())
    missing = (wanted - stored).total()
    if missing <= FOREIGN * wanted.total():
        return ""

    numbers = sum(prod(shape) * count for shape, count in stored.items())

    return (
        f": of another model, it seems. {missing} of the {wanted.total()} weights that config.json "
        f"defines have no counterpart of their shape among the {numbers:,} numbers stored"
    )
