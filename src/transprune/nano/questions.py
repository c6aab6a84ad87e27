"""Questions about a scene, with their answers, in nine categories that follow known benchmarks.

| category | question | follows |
|---|---|---|
| exist | is there a ... ? | POPE: positives, and random, popular and adversarial negatives |
| color, shape | of an object named by something else | GQA, MME |
| size, position | small or large; left or right, top or bottom | MME |
| relation | left of, right of, above, below | GQA |
| count | 0 to 3, by colour or shape | MME |
| read | the digit or letter on an object | TextVQA |
| mc | colour, shape or character, as one of A to D | SEED, MMBench, ScienceQA |

Every answer is one word, and every question about "the ..." fits exactly one object.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transprune.nano.scenes import Scene
from transprune.nano.short_questions import SHORT_QUESTIONS, TRIES, Question, Rng
from transprune.nano.words import COLOR_NAMES, DIGITS, LETTERS, OPTIONS, SHAPES

__all__ = [
    "CATEGORIES",
    "SHORT_CATEGORIES",
    "TRIES",
    "Question",
    "ask",
    "ask_each",
    "ask_with_retries",
    "draw_options",
]

SHORT_CATEGORIES = tuple(SHORT_QUESTIONS)
CATEGORIES = (*SHORT_CATEGORIES, "mc")


def ask(scene: Scene, category: str, rng: Rng) -> Question | None:
    """Draw one question of a category about the scene.

    None means that this draw gave no unambiguous question; try again, or another category.

    Raises:
        KeyError: no such category.
    """
    return _ASK[category](scene, rng)


def ask_with_retries(scene: Scene, category: str, rng: Rng) -> Question | None:
    """As `ask`, with up to thirty draws; None where the scene has no such question."""
    for _ in range(TRIES):
        question = ask(scene, category, rng)
        if question is not None:
            return question

    return None


def ask_each(scene: Scene, seed: int) -> list[Question]:
    """Draw one question of every category that fits the scene; equal seeds give equal questions."""
    rng = np.random.default_rng(seed)
    found = (ask_with_retries(scene, category, rng) for category in CATEGORIES)
    return [question for question in found if question is not None]


def _mc(scene: Scene, rng: Rng) -> Question | None:
    """A colour, shape or reading question with four options."""
    question = ask(scene, ("color", "shape", "read")[rng.integers(3)], rng)
    if question is None:
        return None

    options, letter = draw_options(scene, question, rng)
    return Question("mc", question.category, f"{question.text} {options}", letter, question.objects)


def draw_options(scene: Scene, question: Question, rng: Rng) -> tuple[str, str]:
    """Draw four options for a colour, shape or reading question, and the letter of the right one.

    Wrong options are taken from the scene first, so that an option cannot be ruled out merely
    because nothing in the scene has that colour, shape or character.
    """
    if question.category == "read":
        pool = DIGITS if question.answer in DIGITS else LETTERS
        there = {thing.character for thing in scene.objects}
    else:
        pool = COLOR_NAMES if question.category == "color" else SHAPES
        there = {getattr(thing, question.category) for thing in scene.objects}

    wrong = [word for word in pool if word != question.answer]
    present = _shuffled([word for word in wrong if word in there], rng)
    absent = _shuffled([word for word in wrong if word not in there], rng)

    # the answer is shuffled in, so that every letter is right equally often
    chosen = (present + absent)[: len(OPTIONS) - 1]
    options = _shuffled([question.answer, *chosen], rng)
    text = " ".join(f"{letter} {word}" for letter, word in zip(OPTIONS, options, strict=True))
    return text, OPTIONS[options.index(question.answer)]


def _shuffled(words: list[str], rng: Rng) -> list[str]:
    return [words[number] for number in rng.permutation(len(words))]


_ASK: dict[str, Callable[[Scene, Rng], Question | None]] = {**SHORT_QUESTIONS, "mc": _mc}
