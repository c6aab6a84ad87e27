"""Descriptions, which only the training asks for: many supervised words about one picture.

An answer of one word teaches little about a picture that costs hundreds of tokens. A description
says all that is known of a thing behind its name, so each of its words must be looked up.
"""

from __future__ import annotations

import numpy as np

from transprune.smol.asker import PLACES, Question, unique_name
from transprune.smol.scenes import Scene
from transprune.smol.things import Thing

DESCRIBE = "describe"  # their category
_THING = ("Describe the {name}.", "Tell me about the {name}.")
_PICTURE = ("What is there, from left to right?", "Describe the picture from left to right.")
_SIZES = ((70, "small"), (105, "middle-sized"))  # up to how many pixels; else large


def descriptions(
    scene: Scene, rng: np.random.Generator, times: int, shown: list[int]
) -> list[Question]:
    """Questions about up to `times` single things, and one about all that are shown.

    Args:
        scene: the scene.
        rng: of their order and words.
        times: how many single things.
        shown: numbers of the things that can be seen.
    """
    if not shown:
        return []

    asked: list[Question] = []
    for number in rng.permutation(shown).tolist():
        name = unique_name(scene, number)
        if name is not None and len(asked) < times:
            text = _THING[rng.integers(len(_THING))].format(name=name)
            answer = ", ".join(_facts(scene, scene.things[number]))
            asked.append(Question(DESCRIBE, "thing", text, answer, (number,)))

    order = sorted(shown, key=lambda number: scene.things[number].middle[0])
    told = [
        f"{scene.things[number].name} {_facts(scene, scene.things[number])[0]}" for number in order
    ]
    text = _PICTURE[rng.integers(len(_PICTURE))]
    asked.append(Question(DESCRIBE, "picture", text, ", ".join(told), tuple(order)))
    return asked


def _facts(scene: Scene, thing: Thing) -> list[str]:
    """Place, size, and what else is known: colour, and the word on a sign."""
    third = scene.pixels.shape[0] / 3
    x, y = thing.middle
    place = PLACES[min(2, int(y // third))][min(2, int(x // third))]
    size = next((word for limit, word in _SIZES if thing.size < limit), "large")

    facts = [place, size]
    if thing.color is not None:
        facts.append(thing.color)
    if thing.word is not None:
        facts.append(f"says {thing.word}")
    return facts
