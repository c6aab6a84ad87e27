"""The questions that the language model is trained on, and the aids of its early steps.

Three categories exist for training alone.

- *place*: in which row or column is an object? Relations compare two of those, and their yes-or-no
  answers alone are a weak training signal.
- *located*: a relation question in which the cells of both objects follow their names. Predicting
  these cells is trained too, so the model learns to locate an object where it is named. Comparing
  is learnt apart from locating.
- *describe*: all attributes of an object, given its cell or its name. It binds the words of an
  object together; a model that reads scenes as text needs this, as there they are separate tokens.

A multiple choice may also contain its own answer, which separates choosing an option from seeing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from transprune.nano.questions import TRIES, Question, ask, ask_with_retries, draw_options
from transprune.nano.scenes import Scene
from transprune.nano.words import COLUMNS, ROWS, character_kind

ODDS = {
    "exist": 0.13,
    "color": 0.10,
    "shape": 0.10,
    "size": 0.06,
    "relation": 0.22,
    "count": 0.12,
    "read": 0.12,
    "position": 0.07,
    "place": 0.08,
}

# sources of multiple choices; reading is drawn twice as often as colour or shape
_CHOICE_SOURCES = ("color", "shape", "read", "read")

Rng = np.random.Generator


@dataclass(frozen=True)
class Mix:
    """How many questions of which category a scene gets.

    Attributes:
        short: questions with a short answer.
        choice: long questions: multiple choices and located relations.
        odds: of the categories of short questions; they need not add up to one.
        located: located relations among the long questions.
    """

    short: int = 14
    choice: int = 6
    odds: Mapping[str, float] = field(default_factory=lambda: dict(ODDS))
    located: int = 0


@dataclass(frozen=True)
class Scaffold:
    """Temporary aids that make the early steps of a stage easier; 0 switches an aid off.

    Attributes:
        reveal_answer: share of multiple choices that contain their answer.
        drop_inverse: share of *right of* and *below* questions that are left out. With both
            directions equally frequent, neither the relation word alone nor the two places alone
            correlate with the answer, so a new model finds no gradient to follow.
        object_sum: for scenes as text, weight of the sum of all words of an object that is added
            to each of its words. Using attributes and binding words are then learnt one after the
            other, not at once.
    """

    reveal_answer: float = 0.0
    drop_inverse: float = 0.0
    object_sum: float = 0.0


def draw_questions(
    scene: Scene, mix: Mix, scaffold: Scaffold, rng: Rng
) -> tuple[list[Question], list[Question]]:
    """Draw the training questions about a scene: short ones without repeats, and long ones."""
    short = _draw_short(scene, mix, scaffold, rng)

    # located relations come last in the list but are drawn first
    located = [_located_relation(scene, scaffold, rng) for _ in range(mix.located)]
    choices = []
    for _ in range(mix.choice - mix.located):
        choices.append(_multiple_choice(scene, scaffold.reveal_answer, rng))

    return short, [*choices, *located]


def _draw_short(scene: Scene, mix: Mix, scaffold: Scaffold, rng: Rng) -> list[Question]:
    """Draw `mix.short` different short questions; a small scene may have some of them twice."""
    categories = list(mix.odds)
    odds = np.array(list(mix.odds.values()))
    unique: dict[str, Question] = {}

    # four draws per question leave room for failed draws and repeats
    for number in rng.choice(len(categories), 4 * mix.short, p=odds / odds.sum()):
        question = _draw(scene, categories[number], scaffold, rng)
        if question is not None and len(unique) < mix.short:
            unique.setdefault(question.text, question)

    filled = list(unique.values())
    while len(filled) < mix.short:
        filled.append(filled[int(rng.integers(len(filled)))])

    return filled


def _draw(scene: Scene, category: str, scaffold: Scaffold, rng: Rng) -> Question | None:
    """Draw one question of a short category, those of training included."""
    if category == "relation":
        return _relation(scene, scaffold.drop_inverse, rng)
    if category == "place":
        return _place(scene, rng)
    if category == "describe":
        return _describe(scene, rng)
    return ask(scene, category, rng)


def _relation(scene: Scene, drop_inverse: float, rng: Rng) -> Question | None:
    """Draw a relation; *right of* and *below* are replaced in a share of the draws."""
    question = ask(scene, "relation", rng)

    while (
        question is not None
        and drop_inverse
        and question.kind in ("right of", "below")
        and rng.random() < drop_inverse
    ):
        question = ask(scene, "relation", rng)

    return question


def _place(scene: Scene, rng: Rng) -> Question:
    """`where is the red circle top or bottom ?` row3"""
    number = int(rng.integers(len(scene.objects)))
    thing = scene.objects[number]

    if rng.integers(2) == 0:
        kind = "top or bottom"
        answer = ROWS[thing.row]
    else:
        kind = "left or right"
        answer = COLUMNS[thing.col]

    text = f"where is the {thing.color} {thing.shape} {kind} ?"
    return Question("place", kind, text, answer, (number,))


def _describe(scene: Scene, rng: Rng) -> Question:
    """`row1 col3 ?` small red cross with the number 4; `red cross ?` row1 col3 small with ..."""
    number = int(rng.integers(len(scene.objects)))
    thing = scene.objects[number]
    cell = f"{ROWS[thing.row]} {COLUMNS[thing.col]}"
    name = f"{thing.color} {thing.shape}"

    mark = ""
    if thing.character is not None:
        mark = f" with the {character_kind(thing.character)} {thing.character}"

    if rng.random() < 0.5:
        return Question("describe", "place", f"{cell} ?", f"{thing.size} {name}{mark}", (number,))
    return Question("describe", "name", f"{name} ?", f"{cell} {thing.size}{mark}", (number,))


def _located_relation(scene: Scene, scaffold: Scaffold, rng: Rng) -> Question:
    """`is the red circle row1 col3 left of the blue square row2 col4 ?`"""
    question = None
    for _ in range(TRIES):
        question = _relation(scene, scaffold.drop_inverse, rng)
        if question is not None:
            break

    if question is None:  # a single object, or all of them in one row or column
        return _multiple_choice(scene, 0.0, rng)

    text = question.text
    for number in question.objects:
        thing = scene.objects[number]
        name = f"{thing.color} {thing.shape}"
        text = text.replace(name, f"{name} {ROWS[thing.row]} {COLUMNS[thing.col]}")

    return Question("located", question.kind, text, question.answer, question.objects)


def _multiple_choice(scene: Scene, reveal_answer: float, rng: Rng) -> Question:
    """Draw a multiple choice; a share of them contain their answer."""
    for _ in range(TRIES):
        question = ask(scene, _CHOICE_SOURCES[rng.integers(4)], rng)
        if question is None:
            continue

        options, letter = draw_options(scene, question, rng)
        text = question.text
        if rng.random() < reveal_answer:
            text = _with_answer(question)
        return Question("mc", question.category, f"{text} {options}", letter, question.objects)

    # every draw failed, which practically never happens
    fallback = ask_with_retries(scene, "exist", rng)
    assert fallback is not None
    return fallback


def _with_answer(question: Question) -> str:
    """`what color is red ?`"""
    attribute = question.category
    if attribute == "read":
        attribute = character_kind(question.answer)
    return f"what {attribute} is {question.answer} ?"
