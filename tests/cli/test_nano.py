"""`transprune nano` as a user meets it: scenes to look at, a miniature trained, evaluated and plotted."""

from __future__ import annotations

import json

import pytest
from PIL import Image


def test_scenes_are_written_with_their_questions(cli, tmp_path) -> None:
    result = cli("nano", "scenes", "--out", tmp_path, "--count", "3", "--first", "5")
    lines = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    assert f"3 pictures and {len(lines)} questions" in result.out
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        f"demo-{number}.png" for number in (5, 6, 7)
    ]
    assert {line["image"] for line in lines} == {path.name for path in tmp_path.glob("*.png")}
    assert len({line["id"] for line in lines}) == len(lines) > 20
    with Image.open(tmp_path / "demo-5.png") as picture:
        assert picture.size == (96, 96)


def test_train_stop_resume_evaluate_and_plot(cli, tmp_path) -> None:
    command = (
        "nano",
        "train",
        "--recipe",
        "miniature",
        "--out",
        tmp_path,
        "--threads",
        "1",
        "--no-compile",
    )
    stopped = cli(*command, "--stop-after", "5")
    assert "stopped" in stopped.out
    finished = cli(*command)
    assert "checkpoint" in finished.out
    told = [json.loads(line) for line in finished.err.splitlines() if line.startswith("{")]
    assert {line["stage"] for line in told} == {"vision", "young", "grown"}
    model = tmp_path / "checkpoint"
    scored = cli(
        "nano", "evaluate", "--model", model, "--scenes", "2", "--floor", "--threads", "1", "--json"
    ).data
    assert [scores["blank"] for scores in scored["scores"]] == [False, True]
    assert scored["scores"][0]["families"]["exist"]["asked"] == 4
    pytest.importorskip("matplotlib")
    cli("nano", "plot", "--run", tmp_path)
    assert (tmp_path / "training.png").exists()


def test_evaluate_prints_a_table(cli) -> None:
    shown = cli("nano", "evaluate", "--scenes", "2", "--threads", "1").out
    assert "mean of families" in shown
    assert "relation" in shown


def test_errors_are_one_line(cli, tmp_path) -> None:
    result = cli("nano", "plot", "--run", tmp_path)
    assert result.code == 1
    assert "no logs" in result.err
    assert "Traceback" not in result.err
