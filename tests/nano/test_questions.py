"""Questions: an independent solver reads each one again and checks its answer against the scene."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from nano.solver import solve
from transprune.nano.batches import SHORT_TOKENS, pack
from transprune.nano.captions import caption, description
from transprune.nano.questions import CATEGORIES, Question, ask, ask_each, ask_with_retries
from transprune.nano.scenes import draw, question_rng
from transprune.nano.words import ASSISTANT, EOS, encode

# most frequent answer, as a share; two answers are possible in these, four or more in the others
TWO_ANSWERS = {"exist": 0.6, "relation": 0.6, "size": 0.6}


@pytest.mark.parametrize("category", CATEGORIES)
def test_answers_are_right(category) -> None:
    asked = 0
    for number in range(120):
        scene = draw("validation", number)
        question = ask(scene, category, question_rng("validation", number))

        if question is not None:
            assert question.category == category
            assert solve(scene, question) == question.answer
            encode(question.text)  # raises if a word is not in the vocabulary
            asked += 1

    assert asked > 40


def test_answers_are_balanced_enough() -> None:
    """No category can be answered by always giving the same word."""
    answers = defaultdict(Counter)
    for number in range(400):
        scene = draw("validation", number)
        rng = question_rng("validation", number)
        for category in CATEGORIES:
            if question := ask_with_retries(scene, category, rng):
                answers[category][question.answer] += 1

    for category, counter in answers.items():
        share = counter.most_common(1)[0][1] / counter.total()
        assert share < TWO_ANSWERS.get(category, 0.4), category


def test_negatives_come_in_three_kinds_and_adversarial_ones_are_near() -> None:
    kinds = Counter()
    for number in range(300):
        scene = draw("validation", number)
        question = ask_with_retries(scene, "exist", question_rng("validation", number))
        kinds[question.kind] += 1

        if question.kind == "adversarial":
            color, shape = question.text.split()[3:5]
            assert color in {thing.color for thing in scene.objects}
            assert shape in {thing.shape for thing in scene.objects}

    assert set(kinds) == {"positive", "random", "popular", "adversarial"}
    assert min(kinds.values()) > 25


def test_the_deciding_objects_have_the_answer() -> None:
    for number in range(100):
        scene = draw("validation", number)
        rng = question_rng("validation", number)

        if question := ask(scene, "color", rng):
            (index,) = question.objects
            assert scene.objects[index].color == question.answer
        if question := ask(scene, "count", rng):
            assert len(question.objects) == int(question.answer)


def test_one_of_each_is_the_same_for_the_same_seed() -> None:
    scene = draw("test", 11)
    assert ask_each(scene, 5) == ask_each(scene, 5)
    assert ask_each(scene, 5) != ask_each(scene, 6)

    found = [question.category for question in ask_each(scene, 5)]
    assert found == [category for category in CATEGORIES if category in found]


def test_a_description_names_every_object_with_its_cell() -> None:
    scene = draw("validation", 2)
    words = description(scene, np.random.default_rng(0))
    text = " ".join(words)

    assert words.count(",") == len(scene.objects) - 1
    for thing in scene.objects:
        cell = f"row{thing.row + 1} col{thing.col + 1}"
        assert f"{cell} {thing.size} {thing.color} {thing.shape}" in text

    assert len(encode(words)) == len(words)
    assert len(caption(scene, np.random.default_rng(0))) <= 3 * 9


def test_packing_puts_targets_on_the_answer_only() -> None:
    question = Question("color", "", "what color is the circle ?", "red", (0,))
    ids, targets = pack([question], SHORT_TOKENS)

    whole = [*encode(question.text), ASSISTANT, *encode("red")]
    assert ids[0, : len(whole)].tolist() == whole

    supervised = (targets[0] >= 0).nonzero().flatten().tolist()
    assert supervised == [len(whole) - 2, len(whole) - 1]
    assert targets[0, supervised].tolist() == [*encode("red"), EOS]
