"""What is asked of the language model while it learns, and what is asked only then.

Four kinds of question exist for training alone. *Place* asks for the row or column of an object: relations compare
two of those, and a yes or no teaches little by itself. A *told* relation says the places of both objects behind their
names; saying them is trained too, so that an object is found where it is named, and comparing is learnt apart from
finding. A *leaked* multiple choice names its answer in the question, for the same reason; its share falls to zero.
*Retell* asks for all of an object by its place or its name: a model that reads scenes in words finds no other hold, as
what belongs together there lies in different tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from transprune.nano.questions import TRIES, Question, ask, ask_surely, draw_options
from transprune.nano.scenes import Scene
from transprune.nano.words import ASSISTANT, COLUMNS, EOS, PAD, ROWS, character_kind, encode

SHORT_TOKENS = 12  # of the longest question with its answer, options aside
CHOICE_TOKENS = 20
IGNORE = -100
_PLACES = torch.tensor(encode([*ROWS, *COLUMNS]))

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


@dataclass(frozen=True)
class Mix:
    """How many questions are asked about a scene, and which.

    Attributes:
        short, choice: questions with one word to say, and long ones: multiple choices, `told` of them told relations.
        odds: of the families of short questions; they need not add up to one.
    """

    short: int = 14
    choice: int = 6
    odds: Mapping[str, float] = field(default_factory=lambda: dict(ODDS))
    told: int = 0


@dataclass(frozen=True)
class Help:
    """What makes learning easier for a while.

    Attributes:
        leak: share of multiple choices that name their answer.
        slant: share of questions about *right of* and *below* that are left out. With both directions alike, neither
            the word nor the places alone say anything about the answer, and nothing is there to start from.
        gather: of a scene told in words, how strongly each word carries the sum of all words about its object. Using
            what is bound and binding words that stand apart are then learnt one after the other, not at once.
    """

    leak: float = 0.0
    slant: float = 0.0
    gather: float = 0.0


def draw_questions(
    scene: Scene, mix: Mix, help: Help, rng: np.random.Generator
) -> tuple[list[Question], list[Question]]:
    """Short questions without repeats, and long ones."""
    families, odds = list(mix.odds), np.array(list(mix.odds.values()))
    short: dict[str, Question] = {}
    for number in rng.choice(len(families), 4 * mix.short, p=odds / odds.sum()):
        question = _ask(scene, families[number], help, rng)
        if question is not None and len(short) < mix.short:
            short.setdefault(question.text, question)
    filled = list(short.values())
    while len(filled) < mix.short:  # a small scene may not have so many: some come twice
        filled.append(filled[int(rng.integers(len(filled)))])
    told = [_told(scene, help, rng) for _ in range(mix.told)]
    return filled, [*(_choice(scene, help.leak, rng) for _ in range(mix.choice - mix.told)), *told]


def _ask(scene: Scene, family: str, help: Help, rng: np.random.Generator) -> Question | None:
    if family == "relation":
        return _relation(scene, help.slant, rng)
    own = {"place": _place, "retell": _retell}.get(family)
    return own(scene, rng) if own else ask(scene, family, rng)


def _relation(scene: Scene, slant: float, rng: np.random.Generator) -> Question | None:
    question = ask(scene, "relation", rng)
    while question and slant and question.kind in ("right of", "below") and rng.random() < slant:
        question = ask(scene, "relation", rng)
    return question


def _place(scene: Scene, rng: np.random.Generator) -> Question:
    number = int(rng.integers(len(scene.objects)))
    thing = scene.objects[number]
    ends, word = (("top or bottom", ROWS[thing.row]), ("left or right", COLUMNS[thing.col]))[
        rng.integers(2)
    ]
    return Question(
        "place", ends, f"where is the {thing.color} {thing.shape} {ends} ?", word, (number,)
    )


def _retell(scene: Scene, rng: np.random.Generator) -> Question:
    """`row1 col3 ?` small red cross with the number 4; `red cross ?` row1 col3 small with the number 4."""
    number = int(rng.integers(len(scene.objects)))
    thing = scene.objects[number]
    place, name = f"{ROWS[thing.row]} {COLUMNS[thing.col]}", f"{thing.color} {thing.shape}"
    mark = (
        f" with the {character_kind(thing.character)} {thing.character}" if thing.character else ""
    )
    if rng.random() < 0.5:
        return Question("retell", "place", f"{place} ?", f"{thing.size} {name}{mark}", (number,))
    return Question("retell", "name", f"{name} ?", f"{place} {thing.size}{mark}", (number,))


def _told(scene: Scene, help: Help, rng: np.random.Generator) -> Question:
    """`is the red circle row1 col3 left of the blue square row2 col4 ?`"""
    drawn = (_relation(scene, help.slant, rng) for _ in range(TRIES))
    question = next((question for question in drawn if question), None)
    if question is None:  # all objects in one row or column, or a single one
        return _choice(scene, 0.0, rng)
    text = question.text
    for number in question.objects:
        thing = scene.objects[number]
        name = f"{thing.color} {thing.shape}"
        text = text.replace(name, f"{name} {ROWS[thing.row]} {COLUMNS[thing.col]}")
    return Question("told", question.kind, text, question.answer, question.objects)


def _choice(scene: Scene, leak: float, rng: np.random.Generator) -> Question:
    for _ in range(TRIES):
        question = ask(scene, ("color", "shape", "read", "read")[rng.integers(4)], rng)
        if question is None:
            continue
        options, letter = draw_options(scene, question, rng)
        text = _leaked(question) if rng.random() < leak else question.text
        return Question("mc", question.family, f"{text} {options}", letter, question.objects)
    question = ask_surely(scene, "exist", rng)  # a scene without any such object: practically never
    assert question is not None
    return question


def _leaked(question: Question) -> str:
    asked = character_kind(question.answer) if question.family == "read" else question.family
    return f"what {asked} is {question.answer} ?"


def pack(questions: list[Question], tokens: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of branches: question, `ASSISTANT:`, answer.

    Targets stand on the answer and its `</s>`, and on places that a question tells.

    Returns:
        ids, targets: long [K, tokens], padded on the right; targets are -100 elsewhere.
    """
    ids = torch.full((len(questions), tokens), PAD)
    targets = torch.full((len(questions), tokens), IGNORE)
    for row, question in enumerate(questions):
        asked, answer = [*encode(question.text), ASSISTANT], encode(question.answer)
        whole = torch.tensor([*asked, *answer, EOS])
        ids[row, : len(whole) - 1] = whole[:-1]
        said = torch.isin(whole[1:], _PLACES)
        said[len(asked) - 1 :] = True
        targets[row, : len(whole) - 1] = torch.where(said, whole[1:], IGNORE)
    return ids, targets
