"""Towers that take the patches of all pictures as one list: prompts with videos, and what an eager tower computes.

The maps come from the attention function in the file of the model, which the eager tower calls once per frame.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.vision_utils import get_vision_position_ids

from families.case import IMAGE, VIDEO, VISION_END, VISION_START, noise
from families.cases import MODELS
from families.models import glm, qwen

QWEN = sorted(qwen.CASES)
PACKED = sorted(glm.CASES) + QWEN
PATCH, UNIT, SIDE = 7, 4, 8  # pixels and patches along a side, patches in a token
DENSE = ("glm4v", "qwen2_vl", "qwen3_5", "qwen3_vl")  # one of each kind
STAMP = 40  # a word that stands for a time stamp


def quick(names: Iterable[str]) -> list[Any]:
    """One family of each kind runs every time, the others with `make test-all`."""
    return [
        pytest.param(name, marks=() if name in DENSE else pytest.mark.slow, id=name)
        for name in names
    ]


@dataclass(frozen=True)
class Maps:
    """Keys [frames, H, n, d] and maps [frames, H, n, n] of every block, as lists over blocks."""

    keys: list[list[Tensor]]
    weights: list[list[Tensor]]

    def saliency(self, block: int) -> Tensor:
        """Mean attention received, of heads, rows and the patches of a token. [N]."""
        received = [map_.mean(dim=(0, 1)) for map_ in self.weights[block]]
        return torch.cat(received).view(-1, UNIT).mean(dim=1)

    def mean_keys(self, block: int) -> Tensor:
        """Mean over heads and the patches of a token. [N, d]."""
        keys = torch.cat([keys.mean(dim=0) for keys in self.keys[block]])
        return keys.view(-1, UNIT, keys.shape[-1]).mean(dim=1)


@contextmanager
def listening(tower: Any) -> Iterator[Maps]:
    """Write down what the eager attention of the tower computes."""
    numbers = {id(block.attn): number for number, block in enumerate(tower.blocks)}
    maps = Maps([[] for _ in numbers], [[] for _ in numbers])
    module = sys.modules[type(tower).__module__]
    eager = module.eager_attention_forward

    def noted(attention: Any, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        output, weights = eager(attention, query, key, *args, **kwargs)
        if id(attention) in numbers:
            maps.keys[numbers[id(attention)]].append(key[0])
            maps.weights[numbers[id(attention)]].append(weights[0])
        return output, weights

    module.eager_attention_forward = noted
    try:
        yield maps
    finally:
        module.eager_attention_forward = eager


def eager_maps(model: Any, pixels: Tensor, grid: Tensor) -> Maps:
    """The maps of pictures that an eager model is shown."""
    with torch.no_grad(), listening(model.model.visual) as maps:
        model.model.visual(pixels, grid_thw=grid)
    return maps


def places(grid: Tensor) -> Tensor:
    """Row and column of every token, from the positions that transformers gives its patches."""
    return get_vision_position_ids(grid, 2)[::UNIT] // 2


def video_prompt(name: str, frames: int = 2, *, image: bool = False) -> dict[str, Tensor]:
    """A prompt with a video as the family's processor writes it, and perhaps an image behind it."""
    temporal = MODELS[name].config().vision_config.temporal_patch_size
    each = SIDE * SIDE // UNIT
    ids = [5, 6, *_video_ids(name, frames, each), 7]
    kinds = [2 if token in (IMAGE, VIDEO) else 0 for token in ids]
    inputs = _pixels("pixel_values_videos", "video_grid_thw", frames, temporal)

    if image:
        inputs |= _pixels("pixel_values", "image_grid_thw", 1, temporal)
        ids += [VISION_START, *[IMAGE] * each, VISION_END, 8]
        kinds += [0, *[1] * each, 0, 0]
    return inputs | {
        "input_ids": torch.tensor([[*ids, 10, 11]]),
        "mm_token_type_ids": torch.tensor([[*kinds, 0, 0]]).int(),
        "attention_mask": torch.ones(1, len(ids) + 2, dtype=torch.long),
    }


def _video_ids(name: str, frames: int, each: int) -> list[int]:
    """One block of tokens, or a block per frame with time stamps; GLM's frames are images."""
    if name.startswith("qwen2"):
        return [VISION_START, *[VIDEO] * frames * each, VISION_END]

    ids: list[int] = []
    for frame in range(frames):
        token = IMAGE if name.startswith("glm") else VIDEO
        block = [VISION_START, *[token] * each, VISION_END]
        stamp = STAMP + frame
        ids += [*block, stamp] if name.startswith("glm") else [stamp, *block]
    return [94, *ids, 95] if name.startswith("glm") else ids


def _pixels(pixels: str, grid: str, frames: int, temporal: int) -> dict[str, Tensor]:
    patches = frames * SIDE * SIDE
    return {
        pixels: noise(frames, patches, 3 * temporal * PATCH * PATCH),
        grid: torch.tensor([[frames, SIDE, SIDE]]),
    }
