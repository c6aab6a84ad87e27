"""The whole training in the folder of the second test bed: tower, reader, adapter.

<home>/tower/, <home>/reader/   the runs, see `run`
<home>/adapter/                 the finished adapter, see `adapter`

A training can go on from an adapter instead: on another machine, where there are no checkpoints. The
tower is the adapter's then, and stages of the reader that are over are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from transprune.nano.train.loop import Progress
from transprune.smol import ADAPTER_FOLDER, LANGUAGE_FOLDER, WORLD_FOLDER
from transprune.smol.adapter import check_adapter, load_adapter, save_adapter
from transprune.smol.architecture import assemble, image_tokenizer
from transprune.smol.language import WEIGHTS_SHA256, load_language
from transprune.smol.low_rank import LowRank
from transprune.smol.train.names import name_vectors
from transprune.smol.train.recipe import READER, TOWER
from transprune.smol.train.run import (
    Beginning,
    known_vectors,
    load_reader,
    load_tower,
    train_reader,
    train_tower,
)
from transprune.smol.vision import sizes_of
from transprune.smol.world import World, load_world


def train_all(
    home: Path,
    progress: Progress,
    device: torch.device,
    stop: Callable[[], bool],
    workers: int = 0,
    start: Path | None = None,
) -> bool:
    """Train tower and reader, or continue with whichever is unfinished.

    Args:
        home: with `language/` and `world/`.
        progress, device, stop, workers: as of `run.train_tower`.
        start: folder of an adapter to go on from.

    Returns:
        Whether the training is finished, and the adapter written.

    Raises:
        CheckpointError, SceneError: no language model, no world or no adapter in the folder.
        TrainingError: as of `run`.
    """
    world = load_world(home / WORLD_FOLDER)
    if start is None:
        vectors = vectors_at(home, world)
        if not train_tower(TOWER, world, vectors, home / "tower", progress, device, stop, workers):
            return False

    begun = _begin(home, world, start)
    finished = train_reader(READER, begun, world, home / "reader", progress, device, stop, workers)
    # half an adapter would be taken before the checkout's
    if finished:
        _save(begun, READER.names, home / ADAPTER_FOLDER)
    return finished


def write_adapter(home: Path, out: Path, start: Path | None = None) -> tuple[str, ...]:
    """Write the adapter as far as the reader is trained; what is still to come it says itself.

    Args:
        home: of the training.
        out: folder to write to.
        start: folder of the adapter that the training went on from, if it did.

    Returns:
        The stages of the reader that are over.

    Raises:
        CheckpointError, TrainingError: nothing is trained there.
    """
    begun = _begin(home, load_world(home / WORLD_FOLDER), start)
    over = load_reader(READER, begun, home / "reader")
    _save(begun, over, out)
    return over


def _begin(home: Path, world: World, start: Path | None) -> Beginning:
    """From an adapter, or from the trained tower and an untrained projector and update."""
    language, own_tokenizer = load_language(home / LANGUAGE_FOLDER)
    tokenizer = image_tokenizer(own_tokenizer)
    if start is not None:
        about = check_adapter(start)
        model, low_rank = load_adapter(language, tokenizer, start, WEIGHTS_SHA256)
        return Beginning(
            model, tokenizer, low_rank, tuple(about.get("stages", ())), about["sha256"]
        )

    module, _ = load_tower(TOWER, vectors_at(home, world), home / "tower")
    model = assemble(language, module["tower"], tokenizer)
    return Beginning(
        model, tokenizer, LowRank(model.model.language_model, READER.rank, READER.seed)
    )


def _save(begun: Beginning, over: tuple[str, ...], folder: Path) -> None:
    finished = over == READER.names
    # of the tower that is there: an adapter to go on from may have another one than the recipe
    sizes = sizes_of(begun.model.model.vision_tower)
    save_adapter(begun.model, begun.low_rank, sizes, WEIGHTS_SHA256, folder, over, finished)


def vectors_at(home: Path, world: World) -> Tensor:
    """The vectors of all names; the language model is loaded only where they are not stored yet.

    Raises:
        CheckpointError: they are not, and there is no language model in the folder.
        TrainingError: as of `run.known_vectors`.
    """

    def make(names: tuple[str, ...]) -> Tensor:
        model, tokenizer = load_language(home / LANGUAGE_FOLDER)
        return name_vectors(model, tokenizer, names)

    return known_vectors(world, home / "tower", make)
