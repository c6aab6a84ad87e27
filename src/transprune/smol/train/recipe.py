"""What is trained: the stages of the tower, in order, then the projector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from transprune.smol.things import Canvas
from transprune.smol.train.projector import ProjectorSettings
from transprune.smol.train.tower import TowerSettings
from transprune.smol.vision import TowerSizes


@dataclass(frozen=True)
class TowerRecipe:
    """A whole training of the tower.

    Attributes:
        name: of the recipe.
        sizes: of the tower.
        stages: in order; each goes on with the weights of the one before.
        seed: of the weights.
    """

    name: str
    sizes: TowerSizes
    stages: tuple[TowerSettings, ...]
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


_PARTS = Canvas(side=112, things=(1, 2))

TOWER = TowerRecipe(
    "tower",
    TowerSizes(),
    (
        TowerSettings("tower1_parts", steps=3000, batch=64, canvas=_PARTS),
        TowerSettings(
            "tower2_scenes",
            steps=3000,
            batch=12,
            first_scene=1_000_000,
            muon_lr=0.01,
            adam_lr=1e-3,
        ),
    ),
)

PROJECTOR = ProjectorSettings()

MINIATURE = TowerRecipe(
    "miniature",
    TowerSizes(width=32, mlp=64, layers=2, heads=2),
    (
        TowerSettings("tower1_parts", steps=4, batch=4, canvas=_PARTS, warmup=2),
        TowerSettings("tower2_scenes", steps=2, batch=1, warmup=1, first_scene=100),
    ),
)

RECIPES: Mapping[str, TowerRecipe] = {recipe.name: recipe for recipe in (TOWER, MINIATURE)}
