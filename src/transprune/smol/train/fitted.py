"""The projector's first weights, drawn so that what comes out is as large as embeddings of words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from transprune.smol.scenes import draw
from transprune.smol.vision import look
from transprune.smol.world import World

_SCENE = 9_999_984  # first of the sixteen training scenes that are looked at
_SCENES = 16


@torch.no_grad()
def fit(model: Any, world: World, seed: int = 0) -> None:
    """Draw the first weights of the projector of a model of `architecture.assemble`."""
    scenes = [draw(world, "train", _SCENE + number) for number in range(_SCENES)]
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes]))
    features = look(model.model.vision_tower, pixels).patches.flatten(0, 1)  # [B * N, D]
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3

    projector = model.model.multi_modal_projector
    generator = torch.Generator().manual_seed(seed)
    for linear in (projector.linear_1, projector.linear_2):
        weight = torch.randn(linear.weight.shape, generator=generator)
        linear.weight.copy_(weight * linear.weight.shape[1] ** -0.5)
        linear.bias.zero_()

    # W (x - mean) / deviation, written as one linear layer
    projector.linear_1.weight.div_(deviation)
    projector.linear_1.bias.copy_(-projector.linear_1.weight @ mean)
    words = model.model.language_model.embed_tokens.weight.float().std()
    projector.linear_2.weight.mul_(words / projector(features).std())
