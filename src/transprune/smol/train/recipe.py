"""What is trained: the stages of the tower, in order, then those of the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from transprune.smol.things import Canvas
from transprune.smol.train.reader import ReaderSettings
from transprune.smol.train.tower import TowerSettings
from transprune.smol.train.words import WordsSettings
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


@dataclass(frozen=True)
class ReaderRecipe:
    """A whole training of the reader: projector, and low-rank update of the language model.

    Attributes:
        name: of the recipe.
        words: of its first stage, of the projector alone.
        stages: in order; each goes on with the weights of the one before.
        rank: of the update.
        seed: of its weights.
    """

    name: str
    words: WordsSettings
    stages: tuple[ReaderSettings, ...]
    rank: int = 32
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of all stages, the first included."""
        return (self.words.name, *(stage.name for stage in self.stages))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


_PARTS = Canvas(side=112, things=(1, 2))
_QUARTERS = Canvas(side=168, things=(1, 4))

TOWER = TowerRecipe(
    "tower",
    TowerSizes(),
    (
        TowerSettings("tower1_parts", steps=2200, batch=64, canvas=_PARTS),
        TowerSettings(
            "tower2_quarters",
            steps=500,
            batch=24,
            canvas=_QUARTERS,
            first_scene=1_000_000,
            muon_lr=0.01,
            adam_lr=1e-3,
            lr_floor=0.3,
            character_weight=3.0,
        ),
        TowerSettings(
            "tower3_scenes",
            steps=500,
            batch=10,
            first_scene=2_000_000,
            muon_lr=0.006,
            adam_lr=6e-4,
            lr_floor=0.02,
            character_weight=3.0,
        ),
        # most names a second: pictures of one or two things again
        TowerSettings(
            "tower4_parts",
            steps=2200,
            batch=64,
            canvas=_PARTS,
            first_scene=3_000_000,
            muon_lr=0.012,
            adam_lr=1e-3,
            warmup=50,
            lr_floor=0.05,
            character_weight=3.0,
            heads=False,
        ),
        TowerSettings(
            "tower5_scenes",
            steps=200,
            batch=10,
            first_scene=4_000_000,
            muon_lr=0.004,
            adam_lr=4e-4,
            warmup=20,
            lr_floor=0.02,
            character_weight=3.0,
            heads=False,
        ),
    ),
)

# names are many: as many things as possible, each in a few tokens and questions
_NAMES = ReaderSettings(
    "reader2_names",
    steps=450,
    batch=10,
    views=4,
    shown=1,
    tokens=10,
    per_category=1,
    described=0,
    slots=((1, 20), (1, 28)),
    first_scene=26_000_000,
    warmup=30,
    lr_floor=0.5,
)

READER = ReaderRecipe(
    "reader",
    WordsSettings(),
    (
        _NAMES,
        ReaderSettings(
            "reader3_few",
            steps=400,
            batch=4,
            views=2,
            shown=3,
            tokens=80,
            per_category=1,
            slots=((4, 20), (3, 28), (1, 44)),
            first_scene=30_000_000,
            adam_lr=8e-4,
            warmup=20,
            lr_floor=0.05,
        ),
        # the tower was trained on in between: names once more
        replace(
            _NAMES,
            name="reader4_names",
            steps=110,
            first_scene=35_000_000,
            adam_lr=7e-4,
            warmup=10,
            lr_floor=0.2,
        ),
        # all things, without most of the ground: two thirds of the tokens of a step
        ReaderSettings(
            "reader5_things",
            steps=450,
            batch=4,
            tokens=160,
            described=2,
            first_scene=40_000_000,
            adam_lr=5e-4,
            warmup=20,
            lr_floor=0.1,
        ),
        # with two scenes a step and a rate of 5e-4, names were lost again
        ReaderSettings(
            "reader6_scenes",
            steps=150,
            batch=4,
            first_scene=50_000_000,
            adam_lr=2e-4,
            warmup=20,
        ),
    ),
)

MINIATURE = TowerRecipe(
    "miniature",
    TowerSizes(width=32, mlp=64, layers=2, heads=2),
    (
        TowerSettings("tower1_parts", steps=4, batch=4, canvas=_PARTS, warmup=2),
        TowerSettings("tower2_scenes", steps=2, batch=1, warmup=1, first_scene=100),
    ),
)

LITTLE_READER = ReaderRecipe(
    "miniature",
    WordsSettings(scenes=2, steps=2, batch=50, warmup=1),
    (
        ReaderSettings("reader2_names", steps=2, batch=1, shown=1, tokens=96, slots=((9, 200),)),
        ReaderSettings("reader4_scenes", steps=2, batch=1, slots=((9, 200),)),
    ),
    rank=2,
)

RECIPES: Mapping[str, TowerRecipe] = {recipe.name: recipe for recipe in (TOWER, MINIATURE)}
