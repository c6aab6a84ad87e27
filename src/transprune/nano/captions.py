"""A scene in words: short captions for contrastive training, whole descriptions for a language model without eyes."""

from __future__ import annotations

import numpy as np

from transprune.nano.scenes import Scene, SceneObject
from transprune.nano.words import COLUMNS, ROWS, character_kind

MENTIONED = 3  # objects in a caption


def caption(scene: Scene, rng: np.random.Generator) -> list[str]:
    """The words of a sentence about up to three objects: `a small red cross , a large ... .`"""
    chosen = rng.permutation(len(scene.objects))[:MENTIONED]
    words: list[str] = []
    for number in chosen:
        words += ["a", *_name(scene.objects[number]), ","]
    return [*words[:-1], "."]


def description(scene: Scene, rng: np.random.Generator) -> list[str]:
    """The words of everything that is there, in random order: `row1 col3 small red cross with the number 4 , ...`"""
    words: list[str] = []
    for number in rng.permutation(len(scene.objects)):
        thing = scene.objects[number]
        words += [ROWS[thing.row], COLUMNS[thing.col], *_name(thing), ","]
    return [*words[:-1], "."]


def _name(thing: SceneObject) -> list[str]:
    words = [thing.size, thing.color, thing.shape]
    if thing.character is not None:
        words += ["with", "the", character_kind(thing.character), thing.character]
    return words
