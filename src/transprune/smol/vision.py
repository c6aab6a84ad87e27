"""The vision tower, a CLIP tower of 336 x 336 pixels in patches of 14: 576 visual tokens.

LLaVA reads the last layer but one, without CLS; the last layer is there for CLS alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from transprune.nano.batches import normalise
from transprune.smol.things import PATCH, SIDE

GRID = SIDE // PATCH


@dataclass(frozen=True)
class TowerSizes:
    """Width and depth of the tower. Defaults: 6.6 M weights.

    Attributes:
        width: of the residual stream.
        mlp: hidden width of the MLPs.
        layers, heads: how many.
    """

    width: int = 256
    mlp: int = 1024
    layers: int = 8
    heads: int = 4


class Seen(NamedTuple):
    """What the tower makes of pictures.

    Attributes:
        patches: the features that LLaVA reads, float [B, N, D].
        cls: of the last layer, normed, float [B, D].
    """

    patches: Tensor
    cls: Tensor


def tower_config(sizes: TowerSizes) -> CLIPVisionConfig:
    """Configure the tower."""
    return CLIPVisionConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=sizes.width,
        hidden_act="quick_gelu",
    )


def sizes_of(tower: Any) -> TowerSizes:
    """The sizes that a tower was made with."""
    config = tower.config
    return TowerSizes(
        width=config.hidden_size,
        mlp=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
    )


def new_tower(sizes: TowerSizes) -> Any:
    """Make an untrained tower in fp32."""
    return CLIPVisionModel._from_config(
        tower_config(sizes), attn_implementation="eager", dtype=torch.float32
    )


def look(tower: Any, pixels: Tensor, corner: tuple[int, int] = (0, 0)) -> Seen:
    """Run the tower on pictures of its own size, or on smaller ones as parts of such a picture.

    Args:
        tower: a CLIP vision tower.
        pixels: uint8 [B, side, side, 3], on any device; the side is a multiple of 14.
        corner: row and column of the patch, of the 24 x 24, where a smaller picture begins.
    """
    embeddings = tower.embeddings
    table = embeddings.position_embedding.weight
    prepared = normalise(pixels, table.device)
    grid = prepared.shape[-1] // PATCH

    # [B, D, grid, grid] -> [B, N, D], and the rows of the table for these patches
    patches = embeddings.patch_embedding(prepared).flatten(2).transpose(1, 2)
    rows = corner[0] + torch.arange(grid, device=table.device)
    columns = corner[1] + torch.arange(grid, device=table.device)
    places = 1 + (rows[:, None] * GRID + columns).flatten()  # row 0 of the table is CLS

    cls = (embeddings.class_embedding + table[0]).expand(len(patches), 1, -1)
    hidden = tower.pre_layrnorm(torch.cat([cls, patches + table[places]], dim=1))

    *inner, last = tower.encoder.layers
    for layer in inner:
        hidden = layer(hidden, attention_mask=None)
    features = hidden[:, 1:].float()

    hidden = last(hidden, attention_mask=None)
    return Seen(features, tower.post_layernorm(hidden[:, 0]).float())
