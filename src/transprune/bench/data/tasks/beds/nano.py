"""The bundled test bed: scenes of `transprune.nano`.

Existence is scored as POPE does over its three kinds of negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar, cast

from PIL import Image

from transprune.bench.data.tasks.base import Item
from transprune.bench.data.tasks.beds.base import Bed, Bools
from transprune.nano.questions import CATEGORIES, Question, ask_each
from transprune.nano.scenes import GRID, Scene, Split, draw

_SEED_STEP = 1_000_003  # a prime above any number of scenes, so that no two seeds share questions


@dataclass(frozen=True)
class NanoBed(Bed):
    """Coloured shapes in a closed world, with answers of one word."""

    scenes: ClassVar[int] = 200
    quick: ClassVar[int] = 60
    answer_tokens: ClassVar[int] = 2
    grid: ClassVar[tuple[int, int]] = (GRID, GRID)
    metrics: ClassVar[dict[str, str]] = {"exist": "pope", "mc": "mc"}
    fitted: ClassVar[int] = 0
    # the model itself was trained on earlier ones
    learnt: ClassVar[int] = 50_000_000

    @property
    def categories(self) -> tuple[str, ...]:
        """Nine."""
        return CATEGORIES

    def items(self, split: str, index: int, seed: int) -> list[Item]:
        """One question of every category that fits the scene."""
        scene = draw(cast("Split", split), index)
        asked = ask_each(scene, seed=seed * _SEED_STEP + index)
        return [_item(split, index, scene, question) for question in asked]

    def objects(self, image: str) -> Bools:
        """From the scene that the name stands for."""
        split, index = image.split("/")
        scene = draw(cast("Split", split), int(index))
        return scene.owner >= 0  # -1 is the background


def _item(split: str, index: int, scene: Scene, question: Question) -> Item:
    relevant = [tuple(scene.tokens([number])) for number in question.objects]

    return Item(
        id=f"{split}/{index}/{question.category}",
        image=f"{split}/{index}",
        pictures=(partial(_picture, split, index),),
        question=question.text,
        answers=(question.answer,),
        family=question.category,
        kind=question.kind,
        relevant=tuple(relevant),
    )


# small, because the questions about one scene are prepared one after another
@lru_cache(maxsize=64)
def _picture(split: str, index: int) -> Image.Image:
    return draw(cast("Split", split), index).image()
