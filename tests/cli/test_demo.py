"""The demo end to end: right answers, honest columns, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from transprune import demo
from transprune.cli import demo_first, demo_tables
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
    expected = ["first.png", *(f"scene{number}.png" for number in range(1, 7))]
    assert sorted(path.name for path in folder.iterdir()) == expected
    for path in result.overlays:
        assert open_image(path).size == (828, 2120)


def test_the_first_question_is_told_as_it_was_answered(result, folder):
    """One that names an object, whatever its answers; every figure is that of its own run."""
    first = result.first
    number = result.questions.index(first.question)
    assert first.question.category == "shape"
    assert first.method == demo.METHODS[0] == result.methods[1].method
    assert first.unpruned == result.methods[0].answers[number]
    assert first.pruned == result.methods[1].answers[number]
    assert first.same_answer == (first.pruned == first.unpruned)

    assert first.tokens == result.methods[1].tokens
    assert first.boundaries == result.methods[1].boundaries
    assert len(first.kept) == first.tokens[-1]
    assert set(first.kept) < set(range(first.rows * first.columns))
    assert first.exact_share == pytest.approx(result.methods[1].exact_share, rel=0.05)
    assert first.file == folder / "first.png"


def test_the_figures_of_the_larger_model_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "overhead.md").read_text(encoding="utf-8")
    for method, share in demo_tables.OVERHEAD.items():
        assert f"| {method} | {share:.3f} |" in page


def measured(method, right, time_share):
    return SimpleNamespace(method=method, right=right, time_share=time_share)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ((20, 0.9), "* transprune-high is slower than fastv and no more right here"),
        ((21, 0.9), "* transprune-high is slower than fastv here"),
        ((20, 0.7), "* transprune-high is no more right here"),
        ((21, 0.7), ""),
    ],
)
def test_the_note_says_only_what_was_measured(ours, expected):
    rows = (measured("transprune-high", *ours), measured("fastv", 20, 0.8))
    note = demo_tables.note_on_speed(SimpleNamespace(methods=rows))
    assert note.startswith(expected)
    assert bool(note) == bool(expected)
    assert demo_tables.note_on_speed(SimpleNamespace(methods=rows[:1])) == ""


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
    result = cli("demo", "--out", tmp_path / "out[red]", "--answers", env={"COLUMNS": "80"})

    assert result.code == 0
    assert result.err == ""

    lines = result.out.splitlines()

    assert max(map(len, lines)) <= 80
    assert any(
        "transprune-low" in line and "90@4, 27@5, 9@6" in line and "/24" in line for line in lines
    )
    assert "24 questions show how pruning behaves; this is not a benchmark" in " ".join(
        result.out.split()
    )
    assert "✓" in result.out

    # first what pruning is for, then the comparison
    words = " ".join(result.out.split())
    assert words.index("The same answer with") < words.index("Every method:")
    assert "out[red]/first.pngEverymethod:" in "".join(result.out.split())
    assert result.out.count(demo_first.KEPT) == 9  # the last stage of transprune-low
    assert "* transprune-high" not in words


def test_json(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "METHODS", ("fastv",))
    monkeypatch.setattr(demo, "ROUNDS", 1)
    result = cli("demo", "--out", tmp_path, "--json")
    assert result.err == ""
    assert [row["method"] for row in result.data["methods"]] == ["unpruned", "fastv"]
    assert set(result.data["questions"][0]) == {"picture", "family", "question", "answer"}
    assert len(result.data["questions"]) == len(result.data["methods"][1]["answers"]) == 24
    assert len(result.data["overlays"]) == 6
    assert result.data["first"]["method"] == "fastv"
    assert len(result.data["first"]["kept"]) == 72


@pytest.mark.slow
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

    # it drops nothing, so there is no first picture to show; the answers are there on request
    assert "shortv" in shown
    assert demo_first.KEPT not in shown
    assert "✓" not in shown
