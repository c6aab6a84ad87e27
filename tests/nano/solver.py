"""Answer a question from its words alone, without any code of the generator."""

from __future__ import annotations

import re

from transprune.nano.questions import Question
from transprune.nano.scenes import Scene, SceneObject
from transprune.nano.words import COLOR_NAMES, SHAPES


def named(scene: Scene, phrase: str) -> SceneObject:
    """The one object that fits a phrase.

    Examples: `red circle`, `circle`, `red object`, `object with the number 3`.
    """
    words = phrase.split()
    things = list(scene.objects)

    for word in words:
        if word in COLOR_NAMES:
            things = [thing for thing in things if thing.color == word]
        if word in SHAPES:
            things = [thing for thing in things if thing.shape == word]
    if "with" in words:
        things = [thing for thing in things if thing.character == words[-1]]

    assert len(things) == 1, phrase
    return things[0]


def solve(scene: Scene, question: Question) -> str:
    """The right answer."""
    return solve_text(scene, question.text)


def solve_text(scene: Scene, text: str) -> str:
    """The right answer to a question text."""
    if found := re.fullmatch(r"(.+ \?) A (\S+) B (\S+) C (\S+) D (\S+)", text):
        options = found.groups()[1:]
        assert len(set(options)) == 4
        return "ABCD"[options.index(solve_text(scene, found[1]))]

    if found := re.fullmatch(r"is there a (\S+) (\S+) in the image \?", text):
        return "yes" if found.groups() in scene.pairs else "no"

    if found := re.fullmatch(r"what (color|shape|size) is the (.+?) \?", text):
        return getattr(named(scene, found[2]), found[1])

    if found := re.fullmatch(r"what (?:number|letter) is on the (.+?) \?", text):
        return named(scene, found[1]).character

    if found := re.fullmatch(r"how many (\S+) objects are there \?", text):
        matching = [thing for thing in scene.objects if found[1] in (thing.color, thing.shape)]
        return str(len(matching))

    if found := re.fullmatch(r"is the (\S+ \S+) (top or bottom|left or right) \?", text):
        thing = named(scene, found[1])
        cell = thing.row if found[2].startswith("top") else thing.col
        return found[2].split(" or ")[cell // 2]

    relation = r"is the (\S+ \S+) (left of|right of|above|below) the (\S+ \S+) \?"
    if found := re.fullmatch(relation, text):
        return _compare(named(scene, found[1]), found[2], named(scene, found[3]))

    raise AssertionError(text)


def _compare(first: SceneObject, relation: str, second: SceneObject) -> str:
    truth = {
        "left of": first.col < second.col,
        "right of": first.col > second.col,
        "above": first.row < second.row,
        "below": first.row > second.row,
    }
    return "yes" if truth[relation] else "no"
