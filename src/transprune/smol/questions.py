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

from collections.abc import Callable

from transprune.smol.asker import PLACES, Asker, Question, place_of
from transprune.smol.kinds import Split
from transprune.smol.palette import COLORS
from transprune.smol.scenes import Scene, question_rng
from transprune.smol.short_questions import SHORT_QUESTIONS
from transprune.smol.sign_words import WORDS
from transprune.smol.world import World

TRIES = 20
LETTERS = "ABCD"


def asker_of(
    world: World,
    scene: Scene,
    split: Split,
    index: int,
    *,
    unseen: bool = False,
    held_out: bool = False,
    seed: int = 0,
) -> Asker:
    """What questions about scene number `index` of a split are drawn with.

    Args:
        world: the scene was drawn from.
        scene: the scene.
        split, index, unseen: as it was drawn.
        held_out: word the questions as no training question is.
        seed: of the questions; another one asks other questions about the same scene.
    """
    kinds = world.kinds.by_split[split if unseen else "train"]
    pool = [world.kinds.names[kind] for kind in kinds]
    return Asker(scene, pool, question_rng(split, index, unseen, seed), held_out)


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


def ask_all(asker: Asker, times: int) -> list[Question]:
    """Ask of every category up to `times` questions, none twice."""
    questions: list[Question] = []
    for category in CATEGORIES:
        for _ in range(times):
            question = ask(asker, category)
            if question is not None and question not in questions:
                questions.append(question)
    return questions


def _mc(asker: Asker) -> Question | None:
    """A question of another category with four options, wrong ones of the scene first."""
    category = ("what", "where", "color", "read")[asker.rng.integers(4)]
    question = ask(asker, category)
    if question is None:
        return None

    wrong = _wrong_answers(asker, category, question.answer)
    if len(wrong) < len(LETTERS) - 1:
        return None
    options = [question.answer, *wrong[: len(LETTERS) - 1]]
    shuffled = [options[number] for number in asker.rng.permutation(len(options))]
    listed = " ".join(
        f"{letter}. {option}" for letter, option in zip(LETTERS, shuffled, strict=True)
    )
    text = asker.word("mc", question=question.text, options=listed)
    answer = LETTERS[shuffled.index(question.answer)]
    return Question("mc", category, text, answer, question.things)


def _wrong_answers(asker: Asker, category: str, right: str) -> list[str]:
    """Wrong answers, three or more where the pool has so many; those of the scene come first."""
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


_ASK: dict[str, Callable[[Asker], Question | None]] = {**SHORT_QUESTIONS, "mc": _mc}
CATEGORIES = tuple(_ASK)
