"""The whole training in the folder of the second test bed: tower, reader, adapter.

<home>/tower/, <home>/reader/   the runs, see `run`
<home>/adapter/                 the finished adapter, see `adapter`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transprune.nano.train.loop import Progress
from transprune.smol.adapter import save_adapter
from transprune.smol.architecture import assemble, image_tokenizer
from transprune.smol.language import WEIGHTS_SHA256, load_language
from transprune.smol.train.names import name_vectors
from transprune.smol.train.recipe import READER, TOWER
from transprune.smol.train.run import known_vectors, load_tower, train_reader, train_tower
from transprune.smol.world import World, load_world


def train_all(
    home: Path,
    progress: Progress,
    device: torch.device,
    stop: Callable[[], bool],
    workers: int = 0,
) -> bool:
    """Train tower and reader, or continue with whichever is unfinished.

    Args:
        home: with `language/` and `world/`.
        progress, device, stop, workers: as of `run.train_tower`.

    Returns:
        Whether the training is finished, and the adapter written.

    Raises:
        CheckpointError, SceneError: no language model or no world in the folder.
        TrainingError: as of `run`.
    """
    world = load_world(home / "world")
    vectors = vectors_at(home, world)
    if not train_tower(TOWER, world, vectors, home / "tower", progress, device, stop, workers):
        return False

    module, _ = load_tower(TOWER, vectors, home / "tower")
    language, own_tokenizer = load_language(home / "language")
    tokenizer = image_tokenizer(own_tokenizer)
    model: Any = assemble(language, module["tower"], tokenizer)
    low_rank, finished = train_reader(
        READER, model, tokenizer, world, home / "reader", progress, device, stop, workers
    )

    # half an adapter would be taken for a whole one, and before the checkout's
    if finished:
        save_adapter(model, low_rank, TOWER.sizes, WEIGHTS_SHA256, home / "adapter")
    return finished


def vectors_at(home: Path, world: World) -> Tensor:
    """The vectors of all names; the language model is loaded only where they are not stored yet.

    Raises:
        CheckpointError: they are not, and there is no language model in the folder.
        TrainingError: as of `run.known_vectors`.
    """

    def make(names: tuple[str, ...]) -> Tensor:
        model, tokenizer = load_language(home / "language")
        return name_vectors(model, tokenizer, names)

    return known_vectors(world, home / "tower", make)
