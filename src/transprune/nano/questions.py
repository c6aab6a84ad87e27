"""Questions about a scene, with their answers: nine families that echo what benchmarks of the field ask.

| family | asks | echoes |
|---|---|---|
| exist | is there a ... ? | POPE: positives, and random, popular and adversarial negatives |
| color, shape | of the object named otherwise | GQA, MME |
| size, position | small or large; left or right, top or bottom | MME |
| relation | left of, right of, above, below | GQA |
| count | 0 to 3, by colour or shape | MME |
| read | the digit or letter on an object | TextVQA |
| mc | colour, shape or character, as one of A to D | SEED, MMBench, ScienceQA |

Every answer is one word, and every question about "the ..." has one object it can mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transprune.nano.scenes import PAIR_ODDS, PAIRS, Scene, SceneObject
from transprune.nano.words import (
    COLOR_NAMES,
    DIGITS,
    LETTERS,
    OPTIONS,
    SHAPES,
    character_kind,
)

FAMILIES = ("exist", "color", "shape", "size", "relation", "count", "read", "position", "mc")
TRIES = 30

Rng = np.random.Generator


@dataclass(frozen=True)
class Question:
    """A question, its one-word answer, and the numbers of the objects one has to look at.

    `kind` tells families apart further: `"adversarial"`, `"left of"`, `"number"`, ... For a `no` about existence the
    objects are those that share the colour or the shape; for a count, those that are counted.
    """

    family: str
    kind: str
    text: str
    answer: str
    objects: tuple[int, ...]


def ask(scene: Scene, family: str, rng: Rng) -> Question | None:
    """A question of `family` about the scene, or None where this draw found none (try again, or another family).

    Raises:
        KeyError: no such family.
    """
    return _ASK[family](scene, rng)


def ask_surely(scene: Scene, family: str, rng: Rng) -> Question | None:
    """As `ask`, trying up to thirty times; None where the scene has no such question."""
    return next((question for _ in range(TRIES) if (question := ask(scene, family, rng))), None)


def ask_each(scene: Scene, seed: int) -> list[Question]:
    """One question of every family that the scene has, the same ones whenever asked with the same seed."""
    rng = np.random.default_rng(seed)
    found = (ask_surely(scene, family, rng) for family in FAMILIES)
    return [question for question in found if question is not None]


def _exist(scene: Scene, rng: Rng) -> Question | None:
    if rng.random() < 0.5:
        number, thing = _pick(scene, rng)
        return Question("exist", "positive", _is_there(thing.color, thing.shape), "yes", (number,))
    kind = ("random", "popular", "adversarial")[rng.integers(3)]
    for _ in range(TRIES):
        color, shape = _absent(scene, kind, rng)
        if (color, shape) not in scene.pairs:
            near = {*_where(scene, "color", color), *_where(scene, "shape", shape)}
            return Question("exist", kind, _is_there(color, shape), "no", tuple(sorted(near)))
    return None


def _absent(scene: Scene, kind: str, rng: Rng) -> tuple[str, str]:
    """A colour and a shape that may be missing: any, a frequent one, or one mixed from two objects that are there."""
    if kind == "random":
        return PAIRS[rng.integers(len(PAIRS))]
    if kind == "popular":
        return PAIRS[rng.choice(len(PAIRS), p=PAIR_ODDS)]
    first, second = (scene.objects[number] for number in rng.integers(len(scene.objects), size=2))
    return first.color, second.shape


def _is_there(color: str, shape: str) -> str:
    return f"is there a {color} {shape} in the image ?"


def _color(scene: Scene, rng: Rng) -> Question | None:
    return _attribute(
        scene, rng, "color", "shape", lambda thing: f"what color is the {thing.shape} ?"
    )


def _shape(scene: Scene, rng: Rng) -> Question | None:
    return _attribute(
        scene, rng, "shape", "color", lambda thing: f"what shape is the {thing.color} object ?"
    )


def _attribute(
    scene: Scene, rng: Rng, asked: str, by: str, wording: Callable[[SceneObject], str]
) -> Question | None:
    """Colour or shape of an object that is named by its character, or by its other attribute."""
    number, thing = _pick(scene, rng)
    answer = getattr(thing, asked)
    if rng.random() < 0.5 and thing.character is not None and _unique(scene, "character", thing):
        kind = character_kind(thing.character)
        text = f"what {asked} is the object with the {kind} {thing.character} ?"
        return Question(asked, "by character", text, answer, (number,))
    return (
        Question(asked, f"by {by}", wording(thing), answer, (number,))
        if _unique(scene, by, thing)
        else None
    )


def _size(scene: Scene, rng: Rng) -> Question:
    number, thing = _pick(scene, rng)
    return Question(
        "size", "", f"what size is the {thing.color} {thing.shape} ?", thing.size, (number,)
    )


def _relation(scene: Scene, rng: Rng) -> Question | None:
    (first, thing), (second, other) = _pick(scene, rng), _pick(scene, rng)
    kind, axis, sign = (
        ("left of", "col", 1),
        ("right of", "col", -1),
        ("above", "row", 1),
        ("below", "row", -1),
    )[rng.integers(4)]
    distance = sign * (getattr(other, axis) - getattr(thing, axis))
    if distance == 0:
        return None
    text = f"is the {thing.color} {thing.shape} {kind} the {other.color} {other.shape} ?"
    return Question("relation", kind, text, "yes" if distance > 0 else "no", (first, second))


def _count(scene: Scene, rng: Rng) -> Question | None:
    kind, names = (("shape", SHAPES), ("color", COLOR_NAMES))[rng.integers(2)]
    wanted = int(rng.integers(4))
    counts = Counter(getattr(thing, kind) for thing in scene.objects)
    fitting = [name for name in names if counts[name] == wanted]
    if not fitting:
        return None
    name = fitting[rng.integers(len(fitting))]
    return Question(
        "count",
        kind,
        f"how many {name} objects are there ?",
        str(wanted),
        _where(scene, kind, name),
    )


def _read(scene: Scene, rng: Rng) -> Question | None:
    number, thing = _pick(scene, rng)
    if thing.character is None:
        return None
    kind, draw = character_kind(thing.character), rng.random()
    if draw < 0.25 and _unique(scene, "shape", thing):
        name = thing.shape
    elif draw < 0.5 and _unique(scene, "color", thing):
        name = f"{thing.color} object"
    else:
        name = f"{thing.color} {thing.shape}"
    return Question("read", kind, f"what {kind} is on the {name} ?", thing.character, (number,))


def _position(scene: Scene, rng: Rng) -> Question:
    number, thing = _pick(scene, rng)
    name = f"is the {thing.color} {thing.shape}"
    if rng.random() < 0.5:
        return Question(
            "position",
            "vertical",
            f"{name} top or bottom ?",
            _half(thing.row, "top bottom"),
            (number,),
        )
    return Question(
        "position",
        "horizontal",
        f"{name} left or right ?",
        _half(thing.col, "left right"),
        (number,),
    )


def _half(cell: int, words: str) -> str:
    first, second = words.split()
    return first if cell < 2 else second


def _mc(scene: Scene, rng: Rng) -> Question | None:
    question = ask(scene, ("color", "shape", "read")[rng.integers(3)], rng)
    if question is None:
        return None
    options, letter = draw_options(scene, question, rng)
    return Question("mc", question.family, f"{question.text} {options}", letter, question.objects)


def draw_options(scene: Scene, question: Question, rng: Rng) -> tuple[str, str]:
    """Four options for a colour, shape or reading question, and the letter of the right one.

    The wrong ones are taken from the scene first, so that none can be told wrong without looking at the object.
    """
    if question.family == "read":
        pool = DIGITS if question.answer in DIGITS else LETTERS
        there = {thing.character for thing in scene.objects} & set(pool)
    else:
        pool = COLOR_NAMES if question.family == "color" else SHAPES
        there = {getattr(thing, question.family) for thing in scene.objects}
    near = _shuffled([word for word in pool if word in there and word != question.answer], rng)
    far = _shuffled([word for word in pool if word not in there and word != question.answer], rng)
    options = _shuffled([question.answer, *(near + far)[: len(OPTIONS) - 1]], rng)
    text = " ".join(f"{letter} {word}" for letter, word in zip(OPTIONS, options, strict=True))
    return text, OPTIONS[options.index(question.answer)]


def _pick(scene: Scene, rng: Rng) -> tuple[int, SceneObject]:
    number = int(rng.integers(len(scene.objects)))
    return number, scene.objects[number]


def _where(scene: Scene, attribute: str, value: str) -> tuple[int, ...]:
    return tuple(
        number for number, thing in enumerate(scene.objects) if getattr(thing, attribute) == value
    )


def _unique(scene: Scene, attribute: str, thing: SceneObject) -> bool:
    return (
        sum(getattr(other, attribute) == getattr(thing, attribute) for other in scene.objects) == 1
    )


def _shuffled(words: list[str], rng: Rng) -> list[str]:
    return [words[number] for number in rng.permutation(len(words))]


_ASK: dict[str, Callable[[Scene, Rng], Question | None]] = {
    "exist": _exist,
    "color": _color,
    "shape": _shape,
    "size": _size,
    "relation": _relation,
    "count": _count,
    "read": _read,
    "position": _position,
    "mc": _mc,
}
