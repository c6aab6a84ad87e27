"""The trainings of tower and reader, each in one folder, stage after stage, each resumable.

<folder>/settings.json    the settings; a run is never continued with other ones
<folder>/names.pt         the vectors of all names (of the tower)
<folder>/dialogues.pt     what the language model says without pictures (of the reader)
<folder>/<stage>.pt       the last checkpoint of each stage, with its optimizer
<folder>/<stage>.jsonl    the log of each stage
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from transprune.errors import TrainingError
from transprune.nano.messages import first_line
from transprune.nano.train.loop import (
    Progress,
    load_checkpoint,
    load_weights,
    replacing,
    run_stage,
)
from transprune.nano.train.settings import check_settings
from transprune.smol.language import weights_sha256
from transprune.smol.low_rank import LowRank
from transprune.smol.train.dialogues import make_dialogues
from transprune.smol.train.heads import new_module
from transprune.smol.train.labels import all_names
from transprune.smol.train.reader import ReaderStage
from transprune.smol.train.recipe import ReaderRecipe, TowerRecipe
from transprune.smol.train.tower import TowerStage
from transprune.smol.train.words import WordsStage
from transprune.smol.world import World


class Beginning(NamedTuple):
    """What the reader's training begins with.

    Attributes:
        model: of `architecture.assemble`, with a trained tower.
        tokenizer: its tokenizer.
        low_rank: the update of its language model, not added to it.
        over: names of stages that projector and update have learnt: they are left out.
        adapter_sha256: checksum of the adapter that has learnt them; "" if there is none.
    """

    model: Any
    tokenizer: Any
    low_rank: LowRank
    over: tuple[str, ...] = ()
    adapter_sha256: str = ""


def train_tower(
    recipe: TowerRecipe,
    world: World,
    vectors: Tensor,
    folder: Path,
    progress: Progress,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
    workers: int = 0,
) -> bool:
    """Train the tower, or continue an interrupted run.

    Args:
        recipe: what to train.
        world: what pictures are drawn from.
        vectors: of all names, see `names.name_vectors`.
        folder: of the run; made if missing.
        progress: called every few steps with stage, step, steps and metrics.
        device: where to train.
        stop: called after every step; if it returns True, the run stops with a checkpoint.
        workers: processes that draw pictures; with 0 one thread does.

    Returns:
        Whether the training is finished.

    Raises:
        TrainingError: the folder has a run with other settings, another world or other names, or
            cannot be written.
    """
    settings = recipe.to_dict() | {"world": world.checksum, "names": _fingerprint(vectors)}

    with writing(folder):
        check_settings(settings, folder)
        module = new_module(recipe.sizes, vectors, recipe.seed)
        for stage_settings in recipe.stages:
            stage = TowerStage(stage_settings, world, module, vectors, device)
            if not run_stage(stage, folder, progress, stop=stop, workers=workers):
                return False
    return True


def train_reader(
    recipe: ReaderRecipe,
    begun: Beginning,
    world: World,
    folder: Path,
    progress: Progress,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
    workers: int = 0,
) -> bool:
    """Train what reads the tower's features, or continue an interrupted run.

    Args:
        recipe: what to train.
        begun: what it begins with. Projector and update are trained in place, and the language
            model is turned into bfloat16.
        world, folder, progress, device, stop, workers: as of `train_tower`.

    Returns:
        Whether the training is finished.

    Raises:
        TrainingError: the folder has a run with other settings, another world, tower or language
            model, or cannot be written.
    """
    model, tokenizer, low_rank, over, adapter_sha256 = begun
    frozen = {
        "world": world.checksum,
        "tower": weights_sha256(model.model.vision_tower),
        "language": weights_sha256(model.model.language_model),
        "over": list(over),
        "adapter": adapter_sha256,
    }
    with writing(folder):
        check_settings(recipe.to_dict() | frozen, folder)
        if recipe.words.name not in over:
            words = WordsStage(model, tokenizer, world, recipe.words, device, workers)
            if not run_stage(words, folder, progress, stop=stop):
                return False

        # frozen weights, which autocast would otherwise round again in every step
        model.model.language_model.to(torch.bfloat16)
        model.lm_head.to(torch.bfloat16)
        dialogues = _known_dialogues(model, tokenizer, folder)
        for settings in recipe.stages:
            if settings.name in over:
                continue
            stage = ReaderStage(model, low_rank, tokenizer, dialogues, world, settings, device)
            if not run_stage(stage, folder, progress, stop=stop, workers=workers):
                return False
    return True


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make a folder, and explain what to do where it, or a file in it, cannot be written.

    Raises:
        TrainingError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise TrainingError(
            f"cannot read or write {error.filename or folder}: {error.strerror or error}. What was "
            "written before stays: make room, and run the same command again"
        ) from error


def load_tower(recipe: TowerRecipe, vectors: Tensor, folder: Path) -> tuple[nn.ModuleDict, str]:
    """The tower of the last checkpoint of a run, and how far it is: `tower1_parts, step 200`.

    Raises:
        TrainingError: the folder has no checkpoint of this recipe.
    """
    module = new_module(recipe.sizes, vectors, recipe.seed)

    for stage in reversed(recipe.stages):
        file = folder / f"{stage.name}.pt"
        if file.exists():
            state = load_checkpoint(file)
            load_weights(module, state, file)
            return module.eval(), f"{stage.name}, step {state['step']}"

    raise TrainingError(f"{folder} has no checkpoint of a tower; train it: transprune smol train")


def load_reader(recipe: ReaderRecipe, begun: Beginning, folder: Path) -> tuple[str, ...]:
    """Give projector and update the weights of the last checkpoint of a run.

    Args:
        recipe: of the run.
        begun: what it began with.
        folder: of the run.

    Returns:
        The stages that are over.

    Raises:
        TrainingError: the folder has no checkpoint of this recipe.
    """
    projector = {"projector": begun.model.model.multi_modal_projector}
    both = nn.ModuleDict({**projector, "low_rank": begun.low_rank})
    words = recipe.words
    stages = [(words.name, words.steps, nn.ModuleDict(projector))]
    stages += [(stage.name, stage.steps, both) for stage in recipe.stages]

    for place, (name, steps, module) in reversed(list(enumerate(stages))):
        file = folder / f"{name}.pt"
        if file.exists():
            state = load_checkpoint(file)
            load_weights(module, state, file)
            return recipe.names[: place + (state["step"] == steps)]

    raise TrainingError(f"{folder} has no checkpoint of a reader; train it: transprune smol train")


def known_vectors(world: World, folder: Path, make: Callable[[tuple[str, ...]], Tensor]) -> Tensor:
    """The vectors of all names, from the folder of the run or, at its beginning, newly made.

    Args:
        world: its kinds are named.
        folder: of the run; made if missing.
        make: makes the vectors of names, float [K, E].

    Raises:
        TrainingError: the file in the folder is damaged, or of other names.
    """
    file = folder / "names.pt"
    names = all_names(world.kinds.names)

    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        vectors = make(names)
        with replacing(file) as part:
            torch.save({"names": list(names), "vectors": vectors}, part)
        return vectors

    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        found = tuple(stored["names"])
    # a damaged archive fails in torch, in zipfile, in pickle or where its content is used
    except Exception as error:
        raise TrainingError(
            f"{file} is damaged ({first_line(error)}); remove it, and it is made again"
        ) from error

    if found != names:
        raise TrainingError(
            f"{file} has {len(found)} names, and they are not the {len(names)} of this world: train "
            "into another folder"
        )
    return stored["vectors"]


def _known_dialogues(model: Any, tokenizer: Any, folder: Path) -> Tensor:
    """Dialogues of the language model within a LLaVA, stored in the folder of the run."""
    file = folder / "dialogues.pt"
    if file.exists():
        return torch.load(file, map_location="cpu", weights_only=True)

    dialogues = make_dialogues(model, tokenizer)
    with replacing(file) as part:
        torch.save(dialogues, part)
    return dialogues


def _fingerprint(vectors: Tensor) -> str:
    """Shape and rounded sum: enough to tell other names or another language model apart."""
    return f"{tuple(vectors.shape)} {vectors.double().abs().sum().item():.3f}"
