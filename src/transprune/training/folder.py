"""What a training keeps in its folder while it runs, and which training a folder holds.

training.json     the settings; a training goes on with the same ones or not at all
training.pt       the last checkpoint; gone when the training is finished
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transprune.bench.data.work_folder import WorkFolder
from transprune.errors import TrainingError

SETTINGS_FILE = "training.json"
STATE_FILE = "training.pt"


def work_folder(path: Path) -> WorkFolder:
    """The folder of a training."""
    return WorkFolder(path, SETTINGS_FILE, "training", TrainingError)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a kill leaves the one before whole.

    Raises:
        TrainingError: it cannot be written.
    """
    part = folder / f"{STATE_FILE}.part"
    try:
        torch.save(dict(state), part)
        part.replace(folder / STATE_FILE)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"cannot write a checkpoint into {folder} ({error}); make room, and run the same "
            "command again"
        ) from error


def read_state(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None where there is none.

    Raises:
        TrainingError: it is damaged.
    """
    file = folder / STATE_FILE
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        return state
    # a damaged archive fails in torch, in zipfile or in pickle
    except Exception as error:
        raise TrainingError(
            f"{file} is not a checkpoint of this training ({error}); remove it to start over"
        ) from error


def take_weights(modules: Mapping[int, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    """Copy the weights of a checkpoint into `modules`.

    Raises:
        TrainingError: they are those of another architecture.
    """
    try:
        with torch.no_grad():
            for boundary, module in modules.items():
                for name, value in module.items():
                    value.copy_(state["modules"][boundary][name])
    except (KeyError, RuntimeError, TypeError) as error:
        raise TrainingError(
            f"the checkpoint is one of another architecture ({error}); choose another --out"
        ) from error
