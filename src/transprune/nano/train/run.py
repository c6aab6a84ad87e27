"""A whole training in one folder: stage after stage, each resumable, then the finished checkpoint.

<folder>/settings.json      what is trained; a run is never continued with other settings
<folder>/<stage>.pt         the last checkpoint of each stage, with its optimiser
<folder>/<stage>.jsonl      what was measured on the way
<folder>/checkpoint/        the finished model, loadable by transformers
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transprune.errors import TrainingError
from transprune.nano.architecture import new_llava, save
from transprune.nano.train.card import write_card
from transprune.nano.train.language import LanguageSettings, LanguageStage
from transprune.nano.train.loop import Progress, Stage, replacing, run_stage
from transprune.nano.train.recipe import TrainingRecipe
from transprune.nano.train.start import grow, initialise, standardise
from transprune.nano.train.vision import VisionStage


def train(
    recipe: TrainingRecipe,
    folder: Path,
    progress: Progress,
    device: torch.device,
    stop_after: int | None = None,
    compiled: bool = True,
) -> Path | None:
    """Train from scenes to a finished checkpoint, or go on where an earlier run stopped.

    Args:
        recipe: what to train.
        folder: of the run; made if missing.
        progress: told every few steps.
        device: where to train.
        stop_after: stop after so many steps in all, as a kill would.
        compiled: whether layers are compiled where possible.

    Returns:
        The folder of the checkpoint, or None where the run was stopped.

    Raises:
        TrainingError: the folder holds a run with other settings, or a checkpoint of another architecture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_settings(recipe, folder)
    budget = _Budget(stop_after)
    vision = VisionStage(recipe.sizes, recipe.vision, device)
    if not budget.run(vision, folder, progress):
        return None
    clip = vision.module["clip"]
    model: Any = None
    for settings in recipe.language:
        model = _next_model(recipe, settings, clip, model)
        if not budget.run(LanguageStage(model, settings, device, compiled), folder, progress):
            return None
    save(model, clip, folder / "checkpoint")
    write_card(
        recipe,
        folder,
        folder / "checkpoint",
        lambda done, total: progress("test scenes", done, total, {}),
    )
    return folder / "checkpoint"


def _next_model(
    recipe: TrainingRecipe, settings: LanguageSettings, clip: Any, previous: Any
) -> Any:
    """The model a stage starts from: the previous one, grown where needed, or a new one behind the trained tower."""
    if previous is not None and len(previous.model.language_model.layers) == settings.layers:
        return previous
    model = new_llava(replace(recipe.sizes, layers=settings.layers)).to(clip.device)
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    model.model.vision_tower.config._attn_implementation = "eager"  # faster here, as in training
    initialise(model, settings.seed)
    if previous is None:
        standardise(model)
    else:
        grow(previous, model)
    return model


class _Budget:
    """Steps that are left of `stop_after`."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def run(self, stage: Stage, folder: Path, progress: Progress) -> bool:
        """Run a stage within the budget; whether it is finished."""
        taken = 0

        def counted(name: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
            nonlocal taken
            taken = step
            progress(name, step, steps, dict(metrics))

        finished = run_stage(stage, folder, counted, self.steps)
        if self.steps is not None:
            self.steps = max(0, self.steps - taken)
        return finished


def _check_settings(recipe: TrainingRecipe, folder: Path) -> None:
    file, now = folder / "settings.json", json.loads(json.dumps(recipe.to_dict()))
    if not file.exists():
        with replacing(file) as part:
            part.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(
            f"{file} is not JSON ({error}); remove the folder, or train into another one"
        ) from error
    different = sorted(_paths(before) ^ _paths(now))
    if different:
        shown = "; ".join(f"{path} {value}" for path, value in different[:6])
        raise TrainingError(
            f"{folder} holds a run with other settings ({shown}). Nothing was touched: train into another folder."
        )


def _paths(settings: Any, prefix: str = "") -> set[tuple[str, str]]:
    """Every leaf of nested settings as (path, value)."""
    if isinstance(settings, dict):
        items = settings.items()
    elif isinstance(settings, list):
        items = {str(number): value for number, value in enumerate(settings)}.items()
    else:
        return {(prefix, repr(settings))}
    return {
        leaf
        for key, value in items
        for leaf in _paths(value, f"{prefix}.{key}" if prefix else str(key))
    }
