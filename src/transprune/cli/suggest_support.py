"""Which methods a checkpoint can run, from its configuration: no weights are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


def has_configuration(model: str) -> bool:
    """Whether a model, as `--model` names it, has a configuration that can be built here.

    A known name has sizes only.
    """
    from transprune.cost.geometry import known_geometry
    from transprune.errors import UnknownFamily
    from transprune.models.source import is_named

    if is_named(model) or Path(model).is_dir():
        return True
    if Path(model).exists():
        return False
    try:
        known_geometry(model)
    except UnknownFamily:
        return True  # `find_geometry` has read it from the hub

    return False


def unsupported(model: str, recipes: Iterable[str]) -> dict[str, str]:
    """Recipe -> why this model cannot run it; those it can run are left out.

    Raises:
        UnknownFamily: no family supports this type of model.
        CheckpointError: its configuration cannot be used.
    """
    from transprune.errors import PruneError
    from transprune.session import prune

    built = _build(model)
    reasons = {}
    for recipe in recipes:
        try:
            with prune(built, recipe):
                pass
        except PruneError as error:
            reasons[recipe] = str(error)

    return reasons


def _build(model: str) -> Any:
    """The model without memory for its weights."""
    import torch
    from transformers import AutoModelForImageTextToText

    from transprune.families.generic import family_of
    from transprune.models.source import read_config

    config = read_config(model)
    family_of(config)  # raises for a model that cannot be pruned
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)
