"""The second test bed: scenes of `transprune.smol`, answered in words.

Answers, existence included, are scored by exact match: they have no kinds that POPE would know.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from PIL import Image

from transprune.bench.data.tasks.base import Item
from transprune.bench.data.tasks.beds.base import Bed, Bools
from transprune.smol import WORLD_FOLDER, home
from transprune.smol.asker import Question
from transprune.smol.kinds import SPLITS, Split
from transprune.smol.questions import CATEGORIES, ask_all, asker_of
from transprune.smol.scenes import Scene, draw
from transprune.smol.things import ORDINARY
from transprune.smol.world import World, load_world

_UNSEEN = "-unseen"  # behind the split in the name of a picture


@dataclass(frozen=True)
class SmolBed(Bed):
    """Real things on textured and photographed grounds, with answers of a few words.

    Attributes:
        unseen: show kinds that no training picture has.
        held_out: word the questions as no training question is.
    """

    unseen: bool = False
    held_out: bool = False

    scenes: ClassVar[int] = 100
    quick: ClassVar[int] = 12
    answer_tokens: ClassVar[int] = 24
    grid: ClassVar[tuple[int, int]] = (ORDINARY.grid, ORDINARY.grid)
    metrics: ClassVar[dict[str, str]] = {"mc": "mc"}
    # the model itself was trained on earlier ones
    fitted: ClassVar[int] = 50_000_000
    learnt: ClassVar[int] = 60_000_000

    @property
    def categories(self) -> tuple[str, ...]:
        """Nine."""
        return CATEGORIES

    def items(self, split: str, index: int, seed: int) -> list[Item]:
        """One question of every category that fits the scene."""
        known = cast("Split", split)
        world = _world(_folder())
        unseen = self.unseen and split != "train"
        scene = draw(world, known, index, unseen=unseen)
        asker = asker_of(
            world, scene, known, index, unseen=unseen, held_out=self.held_out, seed=seed
        )

        image = f"{split}{_UNSEEN if unseen else ''}/{index}"
        return [_item(image, scene, question) for question in ask_all(asker, 1)]

    def objects(self, image: str) -> Bools:
        """From the scene that the name stands for."""
        return _scene(_folder(), image).owner >= 0  # -1 is the ground

    def origin(self) -> str:
        """Of kinds, photographs and fonts: another release of a font draws other pictures."""
        world = _world(_folder())
        digest = hashlib.sha256(world.checksum.encode())
        for split in SPLITS:
            for font in world.fonts[split]:
                digest.update(Path(font).read_bytes())
        return digest.hexdigest()


def _item(image: str, scene: Scene, question: Question) -> Item:
    relevant = [tuple(np.flatnonzero(scene.owner == number).tolist()) for number in question.things]

    return Item(
        id=f"{image}/{question.category}",
        image=image,
        pictures=(partial(_picture, _folder(), image),),
        question=question.text,
        answers=(question.answer,),
        family=question.category,
        kind=question.kind,
        relevant=tuple(relevant),
    )


def _folder() -> Path:
    return (home() / WORLD_FOLDER).resolve()


# 90 MB, read and compared with their checksum once
@cache
def _world(folder: Path) -> World:
    return load_world(folder)


def _scene(folder: Path, image: str) -> Scene:
    """The scene of a picture, by its name."""
    split, index = image.split("/")
    known = cast("Split", split.removesuffix(_UNSEEN))
    return draw(_world(folder), known, int(index), unseen=split.endswith(_UNSEEN))


# small, because the questions about one scene are prepared one after another
@lru_cache(maxsize=64)
def _picture(folder: Path, image: str) -> Image.Image:
    return _scene(folder, image).image()
