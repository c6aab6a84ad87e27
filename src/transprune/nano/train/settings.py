"""The settings of a training run, in `settings.json`: a run is never continued with other ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transprune.errors import TrainingError
from transprune.nano.train.loop import replacing

_SHOWN = 6  # differing settings in an error message


def check_settings(settings: dict[str, Any], folder: Path) -> None:
    """Write the settings of a new run into its folder; compare them with those of an old one.

    Raises:
        TrainingError: the settings in the folder differ, or cannot be read.
    """
    file = folder / "settings.json"
    # through JSON, so that tuples compare equal to the lists in the file
    now = json.loads(json.dumps(settings))

    if not file.exists():
        with replacing(file) as part:
            part.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        return

    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TrainingError(
            f"{file} is not JSON ({error}); remove the folder, or train into another one"
        ) from error

    different = sorted(_leaves(before) ^ _leaves(now))
    if different:
        shown = "; ".join(f"{path} {value}" for path, value in different[:_SHOWN])
        raise TrainingError(
            f"{folder} has a run with other settings ({shown}). "
            "Nothing was touched: train into another folder."
        )


def _leaves(settings: Any, prefix: str = "") -> set[tuple[str, str]]:
    """Every leaf of nested settings, as (path, value)."""
    if isinstance(settings, dict):
        items = list(settings.items())
    elif isinstance(settings, list):
        items = [(str(number), value) for number, value in enumerate(settings)]
    else:
        return {(prefix, repr(settings))}

    leaves = set()
    for key, value in items:
        path = f"{prefix}.{key}" if prefix else str(key)
        leaves |= _leaves(value, path)

    return leaves
