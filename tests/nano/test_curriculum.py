"""The questions and aids that exist for training alone."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch

from nano.solver import named, solve, solve_text
from transprune.nano.architecture import Sizes, new_llava
from transprune.nano.batches import CHOICE_TOKENS, SHORT_TOKENS, pack, prefix_of
from transprune.nano.scenes import draw, question_rng
from transprune.nano.train.curriculum import Mix, Scaffold, draw_questions
from transprune.nano.words import WORDS, character_kind, encode

NO_AIDS = Scaffold()


def questions_of(number: int, mix: Mix, scaffold: Scaffold = NO_AIDS):
    """The scene of this number, and its short and long questions."""
    scene = draw("train", number)
    return scene, *draw_questions(scene, mix, scaffold, question_rng("train", number))


def located_relations(count: int):
    """Located relations about the first scenes."""
    for number in range(count):
        scene, _, long = questions_of(number, Mix(short=4, choice=3, located=3))
        for question in long:
            # a scene with all objects in one row has multiple choices instead
            if question.category == "located":
                yield scene, question


def test_located_relations_give_the_right_cells() -> None:
    for scene, question in located_relations(30):
        bare = re.sub(r" row\d col\d", "", question.text)
        assert solve_text(scene, bare) == question.answer

        for name, row, col in re.findall(r"(\S+ \S+) row(\d) col(\d)", question.text):
            thing = named(scene, name)
            assert (thing.row + 1, thing.col + 1) == (int(row), int(col))


def test_cells_inside_a_question_are_supervised() -> None:
    for _, question in located_relations(30):
        ids, targets = pack([question], CHOICE_TOKENS)
        cells = set(re.findall(r"row\d|col\d", question.text))
        supervised = {WORDS[word] for word in targets[0][targets[0] >= 0].tolist()}
        assert supervised == {*cells, question.answer, "</s>"}

        # the target at each place is the word that follows it
        following = ids[0][1:]
        target = targets[0][:-1]
        is_cell = (target >= 0) & torch.isin(following, torch.tensor(encode(sorted(cells))))
        assert torch.equal(target[is_cell], following[is_cell])


def test_descriptions_are_complete() -> None:
    """Given the cell or the name, the answer has all other attributes of the object."""
    kinds = Counter()
    for number in range(60):
        scene, short, _ = questions_of(number, Mix(short=6, choice=0, odds={"describe": 1.0}))

        for question in short:
            thing = scene.objects[question.objects[0]]
            expected = {f"row{thing.row + 1}", f"col{thing.col + 1}"}
            expected |= {thing.size, thing.color, thing.shape}
            if thing.character is not None:
                expected |= {character_kind(thing.character), thing.character}

            words = set(f"{question.text} {question.answer}".split())
            assert words - {"?", "with", "the"} == expected
            kinds[question.kind] += 1

    assert min(kinds["place"], kinds["name"]) > 100


def test_words_get_the_sum_of_their_object() -> None:
    texts = ("red cross , blue star . red cross", "a small red cross . . a small")
    ids = torch.tensor([encode(text) for text in texts])
    model = new_llava(Sizes(width=32, mlp=64, vision_layers=1, text_layers=1, layers=1))

    words = prefix_of(model, ids)
    change = prefix_of(model, ids, object_sum=0.5) - words

    own = words[:, 2:]  # after `<s> USER:`
    expected = torch.zeros_like(own)
    objects = {0: [(0, 2), (3, 5), (6, 8)], 1: [(0, 4), (6, 8)]}
    for row, spans in objects.items():
        for start, stop in spans:
            expected[row, start:stop] = own[row, start:stop].sum(0) / 2

    torch.testing.assert_close(change[:, 2:], expected)
    assert not change[:, :2].any()


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, {"left of", "right of", "above", "below"}), (1.0, {"left of", "above"})],
)
def test_inverse_relations_can_be_left_out(share, expected) -> None:
    mix = Mix(short=8, choice=1, odds={"relation": 1.0})
    kinds = set()
    for number in range(60):
        _, short, _ = questions_of(number, mix, Scaffold(drop_inverse=share))
        kinds |= {question.kind for question in short}

    assert kinds == expected


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 5)])
def test_questions_fit_and_a_share_of_them_reveal_their_answer(share, expected) -> None:
    mix = Mix(short=10, choice=5)
    for number in range(30):
        scene = draw("train", number, (2, 8))
        rng = question_rng("train", number)
        short, choice = draw_questions(scene, mix, Scaffold(reveal_answer=share), rng)
        assert (len(short), len(choice)) == (10, 5)

        # both raise if a question is too long
        pack(short, SHORT_TOKENS)
        pack(choice, CHOICE_TOKENS)

        revealed = 0
        for question in choice:
            if re.match(r"what \w+ is \w+ \? A", question.text):
                revealed += 1
            else:
                assert solve(scene, question) == question.answer
        assert revealed == expected
