"""The tower with what it is trained by: heads that predict what a patch shows, dropped afterwards."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transprune.smol.palette import COLORS
from transprune.smol.train.labels import CHARACTERS
from transprune.smol.vision import GRID, TowerSizes, new_tower

# what a patch predicts -> how many numbers
HEADS = {"thing": 1, "color": len(COLORS), "characters": len(CHARACTERS) + 1, "box": 4}

_SHARPEST = 40.0  # of the match of features and names
_PLACES = 0.5  # amplitude of the position table's first values


def new_module(sizes: TowerSizes, vectors: Tensor, seed: int = 0) -> nn.ModuleDict:
    """Tower and heads, untrained.

    Args:
        sizes: of the tower.
        vectors: of all names, float [K, E].
        seed: of the weights.
    """
    torch.manual_seed(seed)
    tower = new_tower(sizes)
    add_places(tower.embeddings.position_embedding.weight)

    return nn.ModuleDict(
        {
            "tower": tower,
            "heads": nn.Linear(sizes.width, sum(HEADS.values())),
            "places": nn.Linear(sizes.width, 2 * GRID),
            "patch_names": Matcher(sizes.width, vectors.shape[1]),
            "cls_names": Matcher(sizes.width, vectors.shape[1]),
        }
    )


class Matcher(nn.Module):
    """Compare features with names: the cosine of both in a common space, times a learnt factor.

    Args:
        width: of the features, and of the common space.
        described: width of the vectors of names.
    """

    def __init__(self, width: int, described: int) -> None:
        super().__init__()
        self.feature = nn.Linear(width, width)
        self.name = nn.Linear(described, width)
        self.sharpness = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Logits. [n, D] and [K, E] -> [n, K]."""
        left = F.normalize(self.feature(features).float(), dim=-1)
        right = F.normalize(self.name(vectors).float(), dim=-1)
        return self.sharpness.exp().clamp(max=_SHARPEST) * left @ right.T


@torch.no_grad()
def add_places(table: Tensor) -> None:
    """Add a 2-D sinusoid to a position table [1 + 576, D], in random directions.

    Without it, positions could hardly be decoded from the features. Random directions spread rows
    and columns over all channels, so they survive the first norm.
    """
    width = table.shape[1]
    waves = torch.logspace(-1.3, 0.3, width // 4)  # radians per patch
    places = torch.cartesian_prod(torch.arange(GRID), torch.arange(GRID))
    rows, columns = (places[:, axis, None] * waves for axis in (0, 1))  # [576, D / 4]

    phases = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=1)
    rotation = torch.linalg.qr(torch.randn(width, width))[0]
    table[1:] += _PLACES * (phases - phases.mean(dim=0)) @ rotation  # row 0 is CLS
