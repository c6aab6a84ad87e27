"""A question with its answer, and what every category needs to draw one: names, places, wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transprune.smol.phrasings import word
from transprune.smol.scenes import Scene
from transprune.smol.things import SIGN, Thing

PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
_MARGIN = 8  # pixels by which a middle must clear the border of a ninth

Rng = np.random.Generator


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the things that decide it.

    Attributes:
        category: one of `CATEGORIES`.
        kind: divides a category further.
        text: as a user would type it.
        answer: in lower case, but for the letters of multiple choice.
        things: numbers of the things in the scene that decide the answer.
    """

    category: str
    kind: str
    text: str
    answer: str
    things: tuple[int, ...]


@dataclass(frozen=True)
class Asker:
    """What a question is drawn with.

    Attributes:
        scene: the scene.
        pool: names that an absent thing or a wrong option may have.
        rng: random numbers.
        held_out: whether to word it as no training question is.
    """

    scene: Scene
    pool: Sequence[str]
    rng: Rng
    held_out: bool = False

    def word(self, what: str, **parts: str) -> str:
        """Word a question, see `phrasings.word`."""
        return word(what, self.rng, self.held_out, **parts)

    def pick(self) -> tuple[int, Thing, str] | None:
        """A thing that can be named without doubt: its number, itself, its name; None if a draw fails."""
        if not self.scene.things:
            return None
        number = int(self.rng.integers(len(self.scene.things)))
        name = unique_name(self.scene, number)
        return None if name is None else (number, self.scene.things[number], name)

    def pick_two(self) -> tuple[tuple[int, Thing, str], tuple[int, Thing, str]] | None:
        """Two different things of this kind."""
        first, second = self.pick(), self.pick()
        if first is None or second is None or first[0] == second[0]:
            return None
        return first, second


def unique_name(scene: Scene, number: int) -> str | None:
    """How to name a thing so that no other is meant; None where that is not possible."""
    thing = scene.things[number]
    alike = [other for other in scene.things if other.name == thing.name]
    if len(alike) == 1:
        return thing.name
    if thing.name == SIGN and sum(other.color == thing.color for other in alike) == 1:
        return f"{thing.color} {SIGN}"
    return None


def places_of(scene: Scene, thing: Thing) -> set[str]:
    """The ninths that the middle of a thing is in or nearly in."""
    third = scene.pixels.shape[0] / 3
    x, y = thing.middle
    rows = {int((y + shift) // third) for shift in (-_MARGIN, 0, _MARGIN)}
    columns = {int((x + shift) // third) for shift in (-_MARGIN, 0, _MARGIN)}
    return {PLACES[row][column] for row in rows for column in columns}


def place_of(scene: Scene, thing: Thing) -> str | None:
    """The ninth of the picture with the middle of a thing; None near the border of two."""
    places = places_of(scene, thing)
    return places.pop() if len(places) == 1 else None
