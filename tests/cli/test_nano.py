"""`transprune nano` from the command line: write scenes; train, evaluate and plot a miniature."""

from __future__ import annotations

import json

import pytest
from PIL import Image


def test_scenes_are_written_with_their_questions(cli, tmp_path) -> None:
    result = cli("nano", "scenes", "--out", tmp_path, "--count", "3", "--first", "5")
    text = (tmp_path / "questions.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert f"3 pictures and {len(lines)} questions" in result.out

    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["demo-5.png", "demo-6.png", "demo-7.png"]
    assert {line["image"] for line in lines} == set(pictures)
    assert len({line["id"] for line in lines}) == len(lines) > 20
    assert "family" in lines[0]  # the name of the category in questions files

    with Image.open(tmp_path / "demo-5.png") as picture:
        assert picture.size == (96, 96)


def test_train_stop_resume_evaluate_and_plot(cli, tmp_path) -> None:
    command = ["nano", "train", "--recipe", "miniature", "--out", tmp_path]
    command += ["--threads", "1", "--no-compile"]

    stopped = cli(*command, "--stop-after", "5")
    assert "stopped" in stopped.out
    assert "--recipe miniature" in stopped.out  # the command that continues the run

    finished = cli(*command)
    assert "checkpoint" in finished.out
    lines = [json.loads(line) for line in finished.err.splitlines() if line.startswith("{")]
    stages = {line["stage"] for line in lines}
    assert stages == {"vision", "stage1_basics", "stage2_masked_layers"}

    checkpoint = tmp_path / "checkpoint"
    options = ("--scenes", "2", "--floor", "--threads", "1", "--json")
    scores = cli("nano", "evaluate", "--model", checkpoint, *options).data["scores"]
    assert [part["blank"] for part in scores] == [False, True]
    assert scores[0]["families"]["exist"]["asked"] == 4

    pytest.importorskip("matplotlib")
    cli("nano", "plot", "--run", tmp_path)
    assert (tmp_path / "training.png").exists()


def test_evaluate_prints_a_table(cli) -> None:
    shown = cli("nano", "evaluate", "--scenes", "2", "--threads", "1").out
    assert "mean of categories" in shown
    assert "relation" in shown


def test_errors_are_one_line(cli, tmp_path) -> None:
    result = cli("nano", "plot", "--run", tmp_path)
    assert result.code == 1
    assert "no logs" in result.err
    assert "Traceback" not in result.err
