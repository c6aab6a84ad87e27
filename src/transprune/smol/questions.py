"""Questions about a scene in real words, with their answers, in nine categories.

| category | question | answer |
|---|---|---|
| exist | is there a ...: of the scene, any other, or one with a similar name | yes, no |
| what | what is in a part of the picture | a name |
| where | in which ninth of the picture | top left, center, ... |
| count | how often something occurs, how many things there are | 0 to 8 |
| color | of a thing that has a main one, or of a sign | one of eleven |
| read | what a sign says | the word or number |
| size | which of two is bigger, or smaller | a name |
| relation | left of, right of, above, below: is it, and what is | yes, no, a name |
| mc | what, where, color or read, with four options | A to D |

Every question about "the ..." fits exactly one thing, and no answer depends on a few pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from transprune.smol.palette import COLORS
from transprune.smol.phrasings import word
from transprune.smol.scenes import SIGN, Scene, Thing
from transprune.smol.sign_words import WORDS

TRIES = 20
PLACES = (
    ("top left", "top", "top right"),
    ("left", "center", "right"),
    ("bottom left", "bottom", "bottom right"),
)
LETTERS = "ABCD"

_MARGIN = 8  # pixels by which a middle must clear the border of a ninth
_APART = 28  # pixels by which two middles must differ for a relation
_RATIO = 1.35  # of two sizes that are compared
_FEWER_SIGNS = 0.7  # of the questions what there is that a sign would answer, dropped

# name -> axis of the middle, and the sign of (other - thing) where the answer is yes
_RELATIONS = {
    "to the left of": (0, 1),
    "to the right of": (0, -1),
    "above": (1, 1),
    "below": (1, -1),
}

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


def ask(asker: Asker, category: str) -> Question | None:
    """Draw one question of a category, with up to twenty draws; None where none fits the scene.

    Raises:
        KeyError: no such category.
    """
    draw_question = _ASK[category]
    for _ in range(TRIES):
        if question := draw_question(asker):
            return question
    return None


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


def _exist(asker: Asker) -> Question | None:
    """Half of the questions are about a thing of the scene."""
    there = {thing.name for thing in asker.scene.things}
    if there and asker.rng.random() < 0.5:
        name = sorted(there)[asker.rng.integers(len(there))]
        return Question(
            "exist", "positive", asker.word("exist", name=name), "yes", _named(asker.scene, name)
        )

    alike = [name for name in asker.pool if name not in there and _similar(name, there)]
    kind = "similar" if alike and asker.rng.random() < 0.5 else "random"
    pool = alike if kind == "similar" else asker.pool
    name = pool[asker.rng.integers(len(pool))]
    if name in there:
        return None
    return Question("exist", kind, asker.word("exist", name=name), "no", ())


def _similar(name: str, there: set[str]) -> bool:
    """Whether a name shares a word, other than those of flags, with one of the scene."""
    words = set(name.split()) - {"flag", "of", "with", "person"}
    return any(words & set(other.split()) for other in there)


def _what(asker: Asker) -> Question | None:
    """The name of the one thing in a ninth of the picture, or of the only thing of all."""
    scene = asker.scene
    if not scene.things:
        return None

    number = int(asker.rng.integers(len(scene.things)))
    name = scene.things[number].name
    place = place_of(scene, scene.things[number])
    # nothing else may be in that place, not even nearly
    near = [other for other in scene.things if place in places_of(scene, other)]
    if place is None or len(near) > 1 or (name == SIGN and asker.rng.random() < _FEWER_SIGNS):
        return None

    where, kind = f"at the {place}" if place != "center" else "in the center", "place"
    if len(scene.things) == 1 and asker.rng.random() < 0.5:
        where, kind = "in the picture", "only"
    return Question("what", kind, asker.word("what", place=where), name, (number,))


def _where(asker: Asker) -> Question | None:
    picked = asker.pick()
    place = None if picked is None else place_of(asker.scene, picked[1])
    if picked is None or place is None:
        return None
    return Question("where", "", asker.word("where", name=picked[2]), place, (picked[0],))


def _count(asker: Asker) -> Question | None:
    """A quarter of the questions count all things; the others a name, with the count drawn first."""
    scene = asker.scene
    if asker.rng.random() < 0.25:
        every = tuple(range(len(scene.things)))
        return Question("count", "all", asker.word("count all"), str(len(every)), every)

    counts = Counter(thing.name for thing in scene.things)
    wanted = int(asker.rng.integers(5))
    fitting = sorted(name for name, times in counts.items() if times == wanted)
    if wanted == 0:
        name = asker.pool[asker.rng.integers(len(asker.pool))]
        fitting = [] if name in counts else [name]
    if not fitting:
        return None

    name = fitting[asker.rng.integers(len(fitting))]
    text = asker.word("count", name=name)
    return Question("count", "name", text, str(wanted), _named(scene, name))


def _color(asker: Asker) -> Question | None:
    picked = asker.pick()
    if picked is None or picked[1].color is None:
        return None

    number, thing, name = picked
    # "red heart" would give the answer away
    if set(COLORS) & set(name.split()):
        return None
    kind = "sign" if thing.name == SIGN else "thing"
    return Question("color", kind, asker.word("color", name=name), str(thing.color), (number,))


def _read(asker: Asker) -> Question | None:
    picked = asker.pick()
    if picked is None or picked[1].word is None:
        return None

    number, thing, name = picked
    kind = "number" if thing.word.isdigit() else "word"
    return Question("read", kind, asker.word("read", name=name), thing.word, (number,))


def _size(asker: Asker) -> Question | None:
    """Compare the longer sides of two things that are no signs."""
    pair = asker.pick_two()
    if pair is None:
        return None
    (first, thing, name), (second, other, other_name) = pair
    ratio = thing.size / other.size
    if SIGN in (thing.name, other.name) or 1 / _RATIO < ratio < _RATIO:
        return None

    compared = ("bigger", "smaller")[asker.rng.integers(2)]
    answer = name if (ratio > 1) == (compared == "bigger") else other_name
    text = asker.word("size", compared=compared, name=name, other=other_name)
    return Question("size", compared, text, answer, (first, second))


def _relation(asker: Asker) -> Question | None:
    """Whether one thing is left of another, or, a third of the time, which one is."""
    relation = list(_RELATIONS)[asker.rng.integers(len(_RELATIONS))]
    if asker.rng.random() < 1 / 3:
        return _relation_what(asker, relation)

    pair = asker.pick_two()
    if pair is None:
        return None
    (first, thing, name), (second, other, other_name) = pair
    distance = _distance(thing, other, relation)
    if abs(distance) < _APART:
        return None
    text = asker.word("relation", name=name, other=other_name, relation=relation)
    return Question("relation", relation, text, "yes" if distance > 0 else "no", (first, second))


def _relation_what(asker: Asker, relation: str) -> Question | None:
    """The one thing on a side of another; None where several are, or one is nearly."""
    picked = asker.pick()
    if picked is None:
        return None

    number, other, name = picked
    found = []
    for candidate, thing in enumerate(asker.scene.things):
        distance = _distance(thing, other, relation)
        if candidate != number and distance > -_APART / 2:
            found.append((candidate, thing, distance))
    if len(found) != 1 or found[0][2] < _APART:
        return None

    candidate, thing, _ = found[0]
    text = asker.word("relation what", relation=relation, other=name)
    return Question("relation", f"what {relation}", text, thing.name, (number, candidate))


def _distance(thing: Thing, other: Thing, relation: str) -> float:
    """Pixels by which a thing has a relation to another; negative if it has the opposite one."""
    axis, sign = _RELATIONS[relation]
    return sign * (other.middle[axis] - thing.middle[axis])


def _mc(asker: Asker) -> Question | None:
    """A question of another category with four options, wrong ones of the scene first."""
    category = ("what", "where", "color", "read")[asker.rng.integers(4)]
    question = ask(asker, category)
    if question is None:
        return None

    wrong = _wrong_answers(asker, category, question.answer)
    options = [question.answer, *wrong[: len(LETTERS) - 1]]
    shuffled = [options[number] for number in asker.rng.permutation(len(options))]
    listed = " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, shuffled, strict=True))
    text = asker.word("mc", question=question.text, options=listed)
    answer = LETTERS[shuffled.index(question.answer)]
    return Question("mc", category, text, answer, question.things)


def _wrong_answers(asker: Asker, category: str, right: str) -> list[str]:
    """At least three wrong answers; those that fit something else in the scene come first."""
    things = asker.scene.things
    if category == "color":
        there, pool = [thing.color for thing in things], list(COLORS)
    elif category == "where":
        there = [place_of(asker.scene, thing) for thing in things]
        pool = [place for row in PLACES for place in row]
    elif category == "read":
        there, pool = [thing.word for thing in things], list(WORDS)
    else:
        there, pool = [thing.name for thing in things], list(asker.pool)

    present = sorted({answer for answer in there if answer is not None} - {right})
    absent = [pool[number] for number in asker.rng.permutation(len(pool))[: 2 * len(LETTERS) + 8]]
    absent = [answer for answer in absent if answer != right and answer not in present]
    return [present[number] for number in asker.rng.permutation(len(present))] + absent


def _named(scene: Scene, name: str) -> tuple[int, ...]:
    """Numbers of the things with a name."""
    return tuple(number for number, thing in enumerate(scene.things) if thing.name == name)


_ASK: dict[str, Callable[[Asker], Question | None]] = {
    "exist": _exist,
    "what": _what,
    "where": _where,
    "count": _count,
    "color": _color,
    "read": _read,
    "size": _size,
    "relation": _relation,
    "mc": _mc,
}
CATEGORIES = tuple(_ASK)
