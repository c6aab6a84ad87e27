"""A whole training in one folder: stage after stage, each resumable, then the finished checkpoint.

<folder>/settings.json    the settings; a run is never continued with other ones
<folder>/<stage>.pt       the last checkpoint of each stage, with its optimizer
<folder>/<stage>.jsonl    the log of each stage
<folder>/checkpoint/      the finished model, loadable by transformers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transprune.errors import TrainingError
from transprune.nano.architecture import new_llava, save
from transprune.nano.train.card import write_card
from transprune.nano.train.language import LanguageSettings, LanguageStage
from transprune.nano.train.loop import Progress, TrainingStage, run_stage
from transprune.nano.train.recipe import TrainingRecipe
from transprune.nano.train.settings import check_settings
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
    """Train from scenes to a finished checkpoint, or continue an interrupted run.

    Args:
        recipe: what to train.
        folder: of the run; made if missing.
        progress: called every few steps with stage, step, steps and metrics.
        device: where to train.
        stop_after: stop after that many steps in all, with a checkpoint.
        compiled: whether to compile the layers where possible.

    Returns:
        The folder of the checkpoint, or None where the run was stopped.

    Raises:
        TrainingError: the folder has a run with other settings or a checkpoint of another
            architecture, or cannot be written.
    """
    try:
        return _train(recipe, folder, progress, device, stop_after, compiled)
    except OSError as error:
        raise TrainingError(
            f"cannot read or write {error.filename or folder}: {error.strerror or error}. What was "
            "written before stays: make room, and run the same command again"
        ) from error


def _train(
    recipe: TrainingRecipe,
    folder: Path,
    progress: Progress,
    device: torch.device,
    stop_after: int | None,
    compiled: bool,
) -> Path | None:
    """Stage after stage, then the checkpoint and its card."""
    folder.mkdir(parents=True, exist_ok=True)
    check_settings(recipe.to_dict(), folder)

    budget = _Budget(stop_after)
    vision = VisionStage(recipe.sizes, recipe.vision, device)
    # the steps are spent; the next run goes on from the checkpoint of this stage
    if not budget.run(vision, folder, progress):
        return None

    clip = vision.module["clip"]
    model: Any = None
    for settings in recipe.language:
        model = _next_model(recipe, settings, clip, model)
        stage = LanguageStage(model, settings, device, compiled)
        if not budget.run(stage, folder, progress):
            return None

    checkpoint = folder / "checkpoint"
    save(model, clip, checkpoint)

    def card_progress(done: int, total: int) -> None:
        progress("test scenes", done, total, {})

    write_card(recipe, folder, checkpoint, card_progress)
    return checkpoint


def _next_model(
    recipe: TrainingRecipe, settings: LanguageSettings, clip: Any, previous: Any
) -> Any:
    """The model that a stage starts from.

    It is the previous model, a deeper copy of it if the stage has more layers, or for the first
    stage a new model behind the trained tower.
    """
    if previous is not None and len(previous.model.language_model.layers) == settings.layers:
        return previous

    model = new_llava(replace(recipe.sizes, layers=settings.layers)).to(clip.device)
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    # as in the vision stage; faster than sdpa at this size on a CPU
    model.model.vision_tower.config._attn_implementation = "eager"

    initialise(model, settings.seed)
    if previous is None:
        standardise(model)
    else:
        grow(previous, model)

    return model


class _Budget:
    """The steps that are left of `stop_after`; None is no limit."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def run(self, stage: TrainingStage, folder: Path, progress: Progress) -> bool:
        """Run a stage within the budget; return whether it is finished."""
        reached = 0

        def count_steps(name: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
            nonlocal reached
            reached = step
            progress(name, step, steps, dict(metrics))

        finished = run_stage(stage, folder, count_steps, self.steps)
        if self.steps is not None:
            self.steps = max(0, self.steps - reached)
        return finished
