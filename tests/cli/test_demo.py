"""The demo end to end: right answers, honest columns, pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from transprune import demo
from transprune.core.plan import UNPRUNED
from transprune.models.images import open_image
from transprune.nano.export import write_demo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "new" / "folder"


@pytest.fixture(scope="module")
def result(folder):
    return demo.run_demo(folder, rounds=1)


def test_unpruned_model_knows_the_answers(result):
    unpruned = result.methods[0]
    assert unpruned.method == UNPRUNED
    assert unpruned.right >= 0.9 * len(result.questions)


def test_rows_count_what_they_say(result):
    assert [row.method for row in result.methods] == [UNPRUNED, *demo.METHODS]
    for row in result.methods:
        right = [
            given == asked.answer
            for given, asked in zip(row.answers, result.questions, strict=True)
        ]
        assert row.right == sum(right)
        assert len(row.tokens) == len(row.boundaries) + 1


def test_costs_are_the_planned_ones(result):
    rows = {row.method: row for row in result.methods}
    high = rows["transprune-high"]
    low = rows["transprune-low"]
    zipped = rows["visionzip:keep=64"]

    assert (high.tokens, high.boundaries) == ((144, 126, 90, 18), (4, 5, 6))
    assert (low.tokens, low.boundaries) == ((144, 90, 27, 9), (4, 5, 6))
    assert zipped.exact_share == pytest.approx(
        high.exact_share, rel=0.02
    )  # said to cost about the same

    for name in ("random-high", "uniform-high"):
        assert rows[name].paper_share == high.paper_share

    for row in result.methods[1:]:
        assert 0.2 < row.paper_share < row.exact_share < 1
        assert 0.2 < row.kv_share < 1
        assert 0 < row.time_share < 10


def test_one_overlay_per_picture(result, folder):
    expected = [f"scene{number}.png" for number in range(1, 7)]
    assert sorted(path.name for path in folder.iterdir()) == expected
    for path in result.overlays:
        assert open_image(path).size == (828, 1862)


def test_pictures_and_questions_are_the_generator_s(tmp_path):
    """Nothing was picked: drawn again they are the same, to the pixel."""
    write_demo(tmp_path)

    assert json.loads((tmp_path / "questions.json").read_text()) == json.loads(
        (demo.folder() / "questions.json").read_text()
    )

    questions = demo.read_questions()

    assert len(questions) == 24

    categories = [question.category for question in questions]

    assert {categories.count(category) for category in categories} == {4}

    for name in {question.picture for question in questions}:
        drawn, shipped = (
            open_image(place / "pictures" / name) for place in (tmp_path, demo.folder())
        )
        assert np.array_equal(np.asarray(drawn), np.asarray(shipped))


def test_table(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "METHODS", ("transprune-low", "random-high"))
    monkeypatch.setattr(demo, "ROUNDS", 1)
    result = cli("demo", "--out", tmp_path / "out", env={"COLUMNS": "80"})

    assert result.code == 0
    assert result.err == ""

    lines = result.out.splitlines()

    assert max(map(len, lines)) <= 80
    assert any(
        "transprune-low" in line and "90 @4, 27 @5, 9 @6" in line and "/24" in line
        for line in lines
    )
    assert "24 questions show how pruning behaves; this is not a benchmark" in " ".join(
        result.out.split()
    )
    assert "✓" in result.out


def test_json(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "METHODS", ("fastv",))
    monkeypatch.setattr(demo, "ROUNDS", 1)
    result = cli("demo", "--out", tmp_path, "--json")
    assert result.err == ""
    assert [row["method"] for row in result.data["methods"]] == ["unpruned", "fastv"]
    assert set(result.data["questions"][0]) == {"picture", "family", "question", "answer"}
    assert len(result.data["questions"]) == len(result.data["methods"][1]["answers"]) == 24
    assert len(result.data["overlays"]) == 6


def test_other_methods_can_be_shown(cli, tmp_path, monkeypatch):
    """Also one that drops no token, and one whose count of tokens depends on the picture."""
    monkeypatch.setattr(demo, "ROUNDS", 1)
    result = cli(
        "demo", "--out", tmp_path, "--method", "shortv", "--method", "pact:layer=2", "--json"
    )

    assert [row["method"] for row in result.data["methods"]] == [
        "unpruned",
        "shortv",
        "pact:layer=2",
    ]
    assert all(row["paper"] < 1 for row in result.data["methods"][1:] if "paper" in row)
    assert len(result.data["overlays"]) == 6

    shown = cli("demo", "--out", tmp_path, "--method", "shortv").out

    assert "shortv" in shown
