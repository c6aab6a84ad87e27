"""The bundled task: scenes of `transprune.nano`, one task for each category of questions.

Existence is scored as POPE does over its three kinds of negatives, multiple choice by the option
letter, everything else by exact match. The test split is for reporting; choose on the validation
split. Scenes of the training split are asked about where something is fitted, and never scored.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache, partial

from PIL import Image

from transprune.bench.data.metrics import METRICS
from transprune.bench.data.tasks.base import Item, Questions, Task
from transprune.errors import TaskError
from transprune.nano import NANO, questions, scenes

SPLITS: tuple[scenes.Split, ...] = ("test", "validation")
_METRICS = {"exist": "pope", "mc": "mc"}
# first scene that trained pruners learn from: the model itself was trained on earlier ones
_FIRST_TRAINED = 50_000_000
_SEED_STEP = 1_000_003  # a prime above any number of scenes, so that no two seeds share questions


def ask_scenes(split: str, n: int, seed: int = 0) -> Questions:
    """One question of every category about each of the first `n` scenes of a split.

    Raises:
        TaskError: an unknown split, or no scenes.
    """
    if split not in SPLITS or n < 1:
        raise TaskError(
            f"scenes come from the splits {' and '.join(SPLITS)}, at least one; got {split!r}, {n}"
        )

    return _ask(split, n, seed)


def ask_training_scenes(n: int, seed: int = 0) -> tuple[Item, ...]:
    """The same questions about the first `n` scenes of the training split."""
    return tuple(_ask("train", n, seed).items)


def _ask(split: scenes.Split, n: int, seed: int) -> Questions:
    items: dict[str, list[Item]] = defaultdict(list)
    for index in range(n):
        scene = scenes.draw(split, index)
        for question in questions.ask_each(scene, seed=seed * _SEED_STEP + index):
            items[question.category].append(_item(split, index, scene, question))

    tasks = [_task(name, items[name]) for name in questions.CATEGORIES if items[name]]
    return Questions(NANO, tuple(tasks), split=split)


def training_scenes(n: int, seed: int = 0) -> list[Item]:
    """One question of every category about each of `n` scenes of the training split.

    The bundled model has not seen them, and no benchmark asks about them.

    Raises:
        TaskError: no scenes.
    """
    if n < 1:
        raise TaskError(f"training takes one scene or more; got {n}")

    items = []
    for index in range(_FIRST_TRAINED, _FIRST_TRAINED + n):
        scene = scenes.draw("train", index)
        for question in questions.ask_each(scene, seed=seed * _SEED_STEP + index):
            items.append(_item("train", index, scene, question))
    return items


def _item(
    split: scenes.Split, index: int, scene: scenes.Scene, question: questions.Question
) -> Item:
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


def _task(category: str, items: list[Item]) -> Task:
    metric = METRICS[_METRICS.get(category, "exact_match")]
    return Task(category, metric, tuple(items))


# small, because the questions about one scene are prepared one after another
@lru_cache(maxsize=64)
def _picture(split: scenes.Split, index: int) -> Image.Image:
    return scenes.draw(split, index).image()
