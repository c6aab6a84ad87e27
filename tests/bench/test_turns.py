"""`python -m benchmarks.turns`: conversations with the bundled model."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from transprune import prune
from transprune.models.checkpoint import LoadOptions, load
from transprune.nano.scenes import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.turns.__main__")


@pytest.fixture(scope="module")
def nano():
    return load("nano", LoadOptions(dtype="float32", device="cpu"))


def test_the_questions_are_of_two_categories(turns):
    for number in range(8):
        first, second = turns.two_questions(draw("test", number), number)
        assert first.category != second.category


def test_a_first_question_is_answered_as_ever(turns, nano):
    scene = draw("test", 0)
    first, _ = turns.two_questions(scene, 0)
    talk = turns.Talk(nano, scene)
    assert talk.ask(first.text) == first.answer
    assert talk.seconds > 0


def test_a_second_question_goes_on_with_the_cache_or_refreshes_it(turns, nano):
    scene = draw("test", 0)
    questions = turns.two_questions(scene, 0)
    traces = {}
    for how in ("keep", "refresh"):
        talk = turns.Talk(nano, scene)
        with prune(nano.model, "transprune-low", turns=how) as session:
            for question in questions:
                talk.ask(question.text)
        traces[how] = session.trace
    assert traces["refresh"].text_tokens[0] > traces["keep"].text_tokens[0]
    assert not any("prefilled again" in note for note in traces["keep"].notes)


def test_a_line_for_each_contender(turns, nano, capsys):
    turns.measure(nano, "transprune-low", 2)
    lines = capsys.readouterr().out.splitlines()
    names = [line[:18].strip() for line in lines[3:]]
    assert names == list(turns.contenders(nano, "transprune-low"))
