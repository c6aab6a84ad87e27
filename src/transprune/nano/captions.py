"""Scenes as text: short captions for CLIP, and complete descriptions for a language model alone."""

from __future__ import annotations

import numpy as np

from transprune.nano.scenes import Scene, SceneObject
from transprune.nano.words import COLUMNS, ROWS, character_kind

MENTIONED = 3  # most objects in a caption


def caption(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Describe up to three objects in one sentence: `a small red cross , a large ... .`"""
    chosen = rng.permutation(len(scene.objects))[:MENTIONED]
    words: list[str] = []

    for number in chosen:
        words += ["a", *_name(scene.objects[number]), ","]

    # the last comma becomes the full stop
    return [*words[:-1], "."]


def description(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Describe every object, in random order.

    Example: `row1 col3 small red cross with the number 4 , row2 col1 ... .`
    """
    words: list[str] = []

    for number in rng.permutation(len(scene.objects)):
        thing = scene.objects[number]
        words += [ROWS[thing.row], COLUMNS[thing.col], *_name(thing), ","]

    return [*words[:-1], "."]


def _name(thing: SceneObject) -> list[str]:
    """Size, colour, shape and, if there is one, the character of an object."""
    words = [thing.size, thing.color, thing.shape]

    if thing.character is not None:
        words += ["with", "the", character_kind(thing.character), thing.character]

    return words
