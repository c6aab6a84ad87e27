"""The bundled task: scenes of `transprune.nano`, one task per family of questions, each about a fresh picture.

Existence is scored as POPE does over its three kinds of negatives, multiple choice by the option letter, everything
else by exact match. The test split is for reporting; choose on the validation split.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache, partial

from PIL import Image

from transprune.bench.data.metrics import METRICS
from transprune.bench.data.tasks.base import Item, Questions, Task
from transprune.errors import TaskError
from transprune.nano import questions, scenes

SPLITS: tuple[scenes.Split, ...] = ("test", "validation")
_METRICS = {"exist": "pope", "mc": "mc"}


def ask_scenes(split: str, n: int, seed: int = 0) -> Questions:
    """One question of every family about each of the first `n` scenes of a split, the same ones for the same seed.

    Raises:
        TaskError: another split, or no scenes.
    """
    if split not in SPLITS or n < 1:
        raise TaskError(
            f"scenes come from the splits {' and '.join(SPLITS)}, at least one; got {split!r}, {n}"
        )
    items: dict[str, list[Item]] = defaultdict(list)
    for index in range(n):
        scene = scenes.draw(split, index)
        for question in questions.ask_each(scene, seed=seed * 1_000_003 + index):
            items[question.family].append(_item(split, index, scene, question))
    tasks = [_task(family, items[family]) for family in questions.FAMILIES if items[family]]
    return Questions("nano", tuple(tasks), split=split)


def _item(
    split: scenes.Split, index: int, scene: scenes.Scene, question: questions.Question
) -> Item:
    return Item(
        id=f"{split}/{index}/{question.family}",
        image=f"{split}/{index}",
        pictures=(partial(_picture, split, index),),
        question=question.text,
        answers=(question.answer,),
        family=question.family,
        kind=question.kind,
        relevant=tuple(tuple(scene.tokens([number])) for number in question.objects),
    )


def _task(family: str, items: list[Item]) -> Task:
    return Task(family, METRICS[_METRICS.get(family, "exact_match")], tuple(items))


@lru_cache(maxsize=64)  # the questions about a scene come close together
def _picture(split: scenes.Split, index: int) -> Image.Image:
    return scenes.draw(split, index).image()
