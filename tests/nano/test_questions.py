"""Questions: every answer is checked against the scene by reading the question again, independently."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from transprune.nano.architecture import Sizes, new_llava
from transprune.nano.captions import caption, description
from transprune.nano.questions import FAMILIES, Question, ask, ask_each, ask_surely
from transprune.nano.scenes import Scene, draw, question_rng
from transprune.nano.train.asking import prefix_of
from transprune.nano.train.curriculum import (
    CHOICE_TOKENS,
    SHORT_TOKENS,
    Help,
    Mix,
    draw_questions,
    pack,
)
from transprune.nano.words import ASSISTANT, COLOR_NAMES, EOS, SHAPES, WORDS, character_kind, encode


def named(scene: Scene, phrase: str):
    """The one object a phrase like `red circle`, `circle`, `red object`, `object with the number 3` means."""
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
    """The answer, worked out from the words alone."""
    text = question.text
    if found := re.fullmatch(r"is there a (\S+) (\S+) in the image \?", text):
        return "yes" if found.groups() in scene.pairs else "no"
    if found := re.fullmatch(r"what (color|shape|size) is the (.+?) \?", text):
        return getattr(named(scene, found[2]), found[1])
    if found := re.fullmatch(r"what (?:number|letter) is on the (.+?) \?", text):
        return named(scene, found[1]).character
    if found := re.fullmatch(r"how many (\S+) objects are there \?", text):
        return str(sum(found[1] in (thing.color, thing.shape) for thing in scene.objects))
    if found := re.fullmatch(r"is the (\S+ \S+) (top or bottom|left or right) \?", text):
        thing = named(scene, found[1])
        cell = thing.row if found[2].startswith("top") else thing.col
        return found[2].split(" or ")[cell // 2]
    if found := re.fullmatch(
        r"is the (\S+ \S+) (left of|right of|above|below) the (\S+ \S+) \?", text
    ):
        first, second = named(scene, found[1]), named(scene, found[3])
        truth = {
            "left of": first.col < second.col,
            "right of": first.col > second.col,
            "above": first.row < second.row,
            "below": first.row > second.row,
        }
        return "yes" if truth[found[2]] else "no"
    if found := re.fullmatch(r"(.+ \?) A (\S+) B (\S+) C (\S+) D (\S+)", text):
        options = found.groups()[1:]
        assert len(set(options)) == 4
        return "ABCD"[options.index(solve(scene, Question("", "", found[1], "", ())))]
    raise AssertionError(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_right(family) -> None:
    asked = 0
    for number in range(120):
        scene, rng = draw("validation", number), question_rng("validation", number)
        question = ask(scene, family, rng)
        if question is not None:
            assert question.family == family
            assert solve(scene, question) == question.answer
            encode(question.text)  # every word is in the vocabulary
            asked += 1
    assert asked > 40


def test_answers_are_balanced_enough() -> None:
    """No family can be answered by always saying the same word."""
    answers = defaultdict(Counter)
    for number in range(400):
        scene, rng = draw("validation", number), question_rng("validation", number)
        for family in FAMILIES:
            if question := ask_surely(scene, family, rng):
                answers[family][question.answer] += 1
    for family, counter in answers.items():
        share = counter.most_common(1)[0][1] / counter.total()
        assert share < {"exist": 0.6, "relation": 0.6, "size": 0.6, "position": 0.4}.get(
            family, 0.4
        ), family


def test_negatives_come_in_three_kinds_and_adversarial_ones_are_near() -> None:
    kinds = Counter()
    for number in range(300):
        scene, rng = draw("validation", number), question_rng("validation", number)
        question = ask_surely(scene, "exist", rng)
        kinds[question.kind] += 1
        if question.kind == "adversarial":
            color, shape = question.text.split()[3:5]
            assert color in {thing.color for thing in scene.objects}
            assert shape in {thing.shape for thing in scene.objects}
    assert set(kinds) == {"positive", "random", "popular", "adversarial"}
    assert min(kinds.values()) > 25


def test_the_objects_to_look_at_hold_the_answer() -> None:
    for number in range(100):
        scene, rng = draw("validation", number), question_rng("validation", number)
        if question := ask(scene, "color", rng):
            assert [scene.objects[index].color for index in question.objects] == [question.answer]
        if question := ask(scene, "count", rng):
            assert len(question.objects) == int(question.answer)


def test_one_of_each_is_the_same_for_the_same_seed() -> None:
    scene = draw("test", 11)
    assert ask_each(scene, 5) == ask_each(scene, 5)
    assert ask_each(scene, 5) != ask_each(scene, 6)
    families = [question.family for question in ask_each(scene, 5)]
    assert families == [family for family in FAMILIES if family in families]


def test_a_scene_in_words_says_everything() -> None:
    scene = draw("validation", 2)
    words = description(scene, np.random.default_rng(0))
    assert words.count(",") == len(scene.objects) - 1
    for thing in scene.objects:
        assert (
            f"row{thing.row + 1} col{thing.col + 1} {thing.size} {thing.color} {thing.shape}"
            in " ".join(words)
        )
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


def test_told_relations_tell_the_truth_and_saying_places_is_trained() -> None:
    mix = Mix(short=4, choice=3, told=3)
    for number in range(30):
        scene = draw("train", number)
        _, told = draw_questions(scene, mix, Help(), question_rng("train", number))
        for question in (question for question in told if question.family == "told"):
            bare = re.sub(r" row\d col\d", "", question.text)
            assert solve(scene, Question("", "", bare, "", ())) == question.answer
            for name, row, col in re.findall(r"(\S+ \S+) row(\d) col(\d)", question.text):
                thing = named(scene, name)
                assert (thing.row + 1, thing.col + 1) == (int(row), int(col))
            ids, targets = pack([question], CHOICE_TOKENS)
            said = {WORDS[word] for word in targets[0][targets[0] >= 0].tolist()}
            places = set(re.findall(r"row\d|col\d", question.text))
            assert said == {*places, question.answer, "</s>"}
            following = targets[0][:-1] >= 0
            at_places = following & torch.isin(ids[0][1:], torch.tensor(encode(sorted(places))))
            assert torch.equal(
                targets[0][:-1][at_places], ids[0][1:][at_places]
            )  # the word that comes next


def test_retelling_tells_the_truth() -> None:
    """By place the name, by name the place, each with everything else, once the object is found in the scene."""
    mix, kinds = Mix(short=6, choice=0, odds={"retell": 1.0}), Counter()
    for number in range(60):
        scene = draw("train", number)
        for question in draw_questions(scene, mix, Help(), question_rng("train", number))[0]:
            thing = scene.objects[question.objects[0]]
            said = f"{question.text} {question.answer}".split()
            mark = [character_kind(thing.character), thing.character] if thing.character else []
            assert set(said) - {"?", "with", "the"} == {
                *(
                    f"row{thing.row + 1}",
                    f"col{thing.col + 1}",
                    thing.size,
                    thing.color,
                    thing.shape,
                    *mark,
                )
            }
            kinds[question.kind] += 1
    assert min(kinds["place"], kinds["name"]) > 100


def test_words_carry_what_is_said_about_their_object() -> None:
    told = torch.tensor(
        [encode("red cross , blue star . red cross"), encode("a small red cross . . a small")]
    )
    model = new_llava(Sizes(width=32, mlp=64, vision_layers=1, text_layers=1, layers=1))
    words = prefix_of(model, told)
    change = prefix_of(model, told, gather=0.5) - words
    own = words[:, 2:]  # behind <s> USER:
    expected = torch.zeros_like(own)
    for row, part in (
        (0, slice(0, 2)),
        (0, slice(3, 5)),
        (0, slice(6, 8)),
        (1, slice(0, 4)),
        (1, slice(6, 8)),
    ):
        expected[row, part] = own[row, part].sum(0) / 2
    torch.testing.assert_close(change[:, 2:], expected)
    assert not change[:, :2].any()


def test_slant_leaves_out_two_of_four_directions() -> None:
    kinds = {slant: Counter() for slant in (0.0, 1.0)}
    for slant, counter in kinds.items():
        for number in range(60):
            mix = Mix(short=8, choice=1, odds={"relation": 1.0})
            short, _ = draw_questions(
                draw("train", number), mix, Help(slant=slant), question_rng("train", number)
            )
            counter.update(question.kind for question in short)
    assert set(kinds[0.0]) == {"left of", "right of", "above", "below"}
    assert set(kinds[1.0]) == {"left of", "above"}


def test_training_questions_fit_and_leak_as_told() -> None:
    mix = Mix(short=10, choice=5)
    for leak, expected in ((0.0, 0), (1.0, 5)):
        for number in range(30):
            scene = draw("train", number, (2, 8))
            short, choice = draw_questions(scene, mix, Help(leak), question_rng("train", number))
            assert (len(short), len(choice)) == (10, 5)
            pack(short, SHORT_TOKENS), pack(choice, CHOICE_TOKENS)
            leaked = [
                question for question in choice if re.match(r"what \w+ is \w+ \? A", question.text)
            ]
            assert len(leaked) == expected
            assert all(
                solve(scene, question) == question.answer
                for question in choice
                if question not in leaked
            )
