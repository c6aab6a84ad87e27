"""The eight categories of questions about a scene that have a short answer: one word, no options.

A function of this module draws one question of its category, or returns None where the draw gave
no unambiguous one. The order of its random draws is part of the data: a change changes the splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transprune.nano.scenes import BOARD, PAIR_ODDS, PAIRS, Scene, SceneObject
from transprune.nano.words import COLOR_NAMES, SHAPES, character_kind

TRIES = 30

Rng = np.random.Generator

# relation -> the axis it compares, and the sign of (second - first) where the answer is yes
_RELATIONS = (
    ("left of", "col", 1),
    ("right of", "col", -1),
    ("above", "row", 1),
    ("below", "row", -1),
)


@dataclass(frozen=True)
class Question:
    """A question, its one-word answer, and the objects that decide it.

    Attributes:
        category: the category, as in `questions.CATEGORIES`.
        kind: divides a category further: `"adversarial"`, `"left of"`, `"number"`, ...
        text: words separated by spaces.
        answer: one word.
        objects: numbers of the objects that decide the answer. For a `no` about existence these
            are the objects with that colour or that shape; for a count, the counted objects.
    """

    category: str
    kind: str
    text: str
    answer: str
    objects: tuple[int, ...]


def _exist(scene: Scene, rng: Rng) -> Question | None:
    """Half of the questions are about an object of the scene, half about an absent one."""
    if rng.random() < 0.5:
        number, thing = _pick(scene, rng)
        return Question("exist", "positive", _is_there(thing.color, thing.shape), "yes", (number,))

    kind = ("random", "popular", "adversarial")[rng.integers(3)]
    for _ in range(TRIES):
        color, shape = _candidate(scene, kind, rng)
        if (color, shape) not in scene.pairs:
            near = {*_where(scene, "color", color), *_where(scene, "shape", shape)}
            return Question("exist", kind, _is_there(color, shape), "no", tuple(sorted(near)))

    return None


def _candidate(scene: Scene, kind: str, rng: Rng) -> tuple[str, str]:
    """Draw a colour and a shape that may be absent together.

    `"random"`: any pair. `"popular"`: a frequent pair. `"adversarial"`: the colour of one object
    of the scene with the shape of another one.
    """
    if kind == "random":
        return PAIRS[rng.integers(len(PAIRS))]
    if kind == "popular":
        return PAIRS[rng.choice(len(PAIRS), p=PAIR_ODDS)]

    first, second = rng.integers(len(scene.objects), size=2)
    return scene.objects[first].color, scene.objects[second].shape


def _is_there(color: str, shape: str) -> str:
    return f"is there a {color} {shape} in the image ?"


def _color(scene: Scene, rng: Rng) -> Question | None:
    return _attribute(scene, rng, "color", "shape", "what color is the {shape} ?")


def _shape(scene: Scene, rng: Rng) -> Question | None:
    return _attribute(scene, rng, "shape", "color", "what shape is the {color} object ?")


def _attribute(
    scene: Scene, rng: Rng, attribute: str, named_by: str, wording: str
) -> Question | None:
    """Colour or shape of an object that is named by its character, or by its other attribute."""
    number, thing = _pick(scene, rng)
    answer = getattr(thing, attribute)

    by_character = rng.random() < 0.5 and thing.character is not None
    if by_character and _unique(scene, "character", thing):
        assert thing.character is not None
        kind = character_kind(thing.character)
        text = f"what {attribute} is the object with the {kind} {thing.character} ?"
        return Question(attribute, "by character", text, answer, (number,))

    if not _unique(scene, named_by, thing):
        return None

    text = wording.format(color=thing.color, shape=thing.shape)
    return Question(attribute, f"by {named_by}", text, answer, (number,))


def _size(scene: Scene, rng: Rng) -> Question:
    number, thing = _pick(scene, rng)
    text = f"what size is the {thing.color} {thing.shape} ?"
    return Question("size", "", text, thing.size, (number,))


def _relation(scene: Scene, rng: Rng) -> Question | None:
    """Compare the cells of two objects; None where they share the row or column in question."""
    first, thing = _pick(scene, rng)
    second, other = _pick(scene, rng)
    kind, axis, sign = _RELATIONS[rng.integers(4)]

    # 0 also where both draws gave the same object
    distance = sign * (getattr(other, axis) - getattr(thing, axis))
    if distance == 0:
        return None

    text = f"is the {thing.color} {thing.shape} {kind} the {other.color} {other.shape} ?"
    answer = "yes" if distance > 0 else "no"
    return Question("relation", kind, text, answer, (first, second))


def _count(scene: Scene, rng: Rng) -> Question | None:
    """Draw the answer first, then a colour or shape with that count: answers are then balanced."""
    kind, names = (("shape", SHAPES), ("color", COLOR_NAMES))[rng.integers(2)]
    wanted = int(rng.integers(4))

    # a Counter gives 0 for a name that no object has, so the answer 0 is possible
    counts = Counter(getattr(thing, kind) for thing in scene.objects)
    fitting = [name for name in names if counts[name] == wanted]
    if not fitting:
        return None

    name = fitting[rng.integers(len(fitting))]
    text = f"how many {name} objects are there ?"
    return Question("count", kind, text, str(wanted), _where(scene, kind, name))


def _read(scene: Scene, rng: Rng) -> Question | None:
    """Ask for the character on an object, named by shape, by colour or by both."""
    number, thing = _pick(scene, rng)
    if thing.character is None:
        return None

    kind = character_kind(thing.character)
    chance = rng.random()
    if chance < 0.25 and _unique(scene, "shape", thing):
        name = thing.shape
    elif chance < 0.5 and _unique(scene, "color", thing):
        name = f"{thing.color} object"
    else:
        name = f"{thing.color} {thing.shape}"

    text = f"what {kind} is on the {name} ?"
    return Question("read", kind, text, thing.character, (number,))


def _position(scene: Scene, rng: Rng) -> Question:
    """Ask in which half of the picture an object lies, vertically or horizontally."""
    number, thing = _pick(scene, rng)

    name = f"{thing.color} {thing.shape}"

    if rng.random() < 0.5:
        answer = "top" if thing.row < BOARD // 2 else "bottom"
        return Question("position", "vertical", f"is the {name} top or bottom ?", answer, (number,))

    answer = "left" if thing.col < BOARD // 2 else "right"
    return Question("position", "horizontal", f"is the {name} left or right ?", answer, (number,))


def _pick(scene: Scene, rng: Rng) -> tuple[int, SceneObject]:
    number = int(rng.integers(len(scene.objects)))
    return number, scene.objects[number]


def _where(scene: Scene, attribute: str, value: str) -> tuple[int, ...]:
    """Numbers of the objects whose attribute has this value."""
    values = [getattr(thing, attribute) for thing in scene.objects]
    return tuple(number for number, found in enumerate(values) if found == value)


def _unique(scene: Scene, attribute: str, thing: SceneObject) -> bool:
    """Whether no other object has the same value of the attribute."""
    return len(_where(scene, attribute, getattr(thing, attribute))) == 1


SHORT_QUESTIONS: dict[str, Callable[[Scene, Rng], Question | None]] = {
    "exist": _exist,
    "color": _color,
    "shape": _shape,
    "size": _size,
    "relation": _relation,
    "count": _count,
    "read": _read,
    "position": _position,
}
