"""`transprune train-pruner` from the command line: a whole training, continued, used, and refused."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from transprune.cli import app
from transprune.core import strict_json
from transprune.methods.common.trained_weights import load_weights
from transprune.training.folder import work_folder

SMALL = ("--threads", "1", "--n", "3", "--steps", "2", "--batch-size", "4", "--held-out", "0.3")


def call(*arguments):
    words = list(map(str, arguments))
    return CliRunner().invoke(app, words, env={"COLUMNS": "100"}, catch_exceptions=False)


def train(folder, *more):
    return call("train-pruner", "--out", folder, *SMALL, *more)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A training of two steps, stopped after the first: its folder and both outputs."""
    folder = tmp_path_factory.mktemp("train") / "weights"
    return folder, train(folder, "--stop-after", "1"), train(folder)


@pytest.fixture
def folder(training):
    return training[0]


def test_a_training_writes_weights_with_their_card(training):
    folder, stopped, result = training
    assert stopped.exit_code == 0, stopped.stderr
    assert "stopped with a checkpoint" in stopped.stdout
    assert result.exit_code == 0, result.stderr
    assert "9 held-out questions" in result.stdout

    weights = load_weights(folder)
    assert (weights.fit.method, weights.fit.model_type) == ("lvpruning", "llava")
    assert (weights.fit.width, weights.fit.layers) == (128, 16)
    assert sorted(weights.modules) == [1, 4, 8]
    about = strict_json.read((folder / "pruner.json").read_bytes())["training"]
    assert (about["trained"], about["held_out"], about["seed"]) == (18, 9, 0)
    assert [point["step"] for point in about["curve"]] == [1, 2]
    assert set(about["held out"]) == {"questions", "lvpruning", "random"}
    assert {"torch", "transformers", "transprune"} <= set(about["versions"])

    card = (folder / "README.md").read_text()
    assert "`llava` of width 128 and 16 decoder layers" in card
    assert "| random |" in card
    files = {"pruner.json", "pruner.safetensors", "README.md", "training.json", ".lock"}
    assert {file.name for file in folder.iterdir()} == files


def test_the_weights_answer_a_question(folder, tmp_path):
    Image.new("RGB", (96, 96), "orange").save(tmp_path / "picture.png")
    asked = ("--image", tmp_path / "picture.png", "--question", "is there a circle ?", "--json")
    result = call("run", "--model", "nano", "--method", f"lvpruning:weights={folder}", *asked)
    assert result.exit_code == 0, result.stderr
    (run,) = json.loads(result.stdout)["runs"]
    stages = run["trace"]["stages"]
    assert [stage["boundary"] for stage in stages] == [1, 4, 8]


def test_a_finished_training_is_not_repeated(folder):
    before = (folder / "pruner.safetensors").read_bytes()
    result = train(folder, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["finished"]
    assert "holds the finished training already" in data["notes"][0]
    assert (folder / "pruner.safetensors").read_bytes() == before


def test_other_settings_in_the_folder_are_refused(folder):
    result = train(folder, "--seed", "1", "--learning-rate", "0.1")
    assert result.exit_code == 1
    assert "learning_rate was 0.001, now 0.1" in result.stderr
    assert "seed was 0, now 1" in result.stderr


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    assert train(tmp_path / "out", "--stop-after", "1").exit_code == 0
    with work_folder(tmp_path / "out").alone():
        result = train(tmp_path / "out")
    assert result.exit_code == 1
    assert "another process has a training" in result.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--method", "fastv"), "fastv needs no training; trained methods are asymvlm, lvpruning"),
        (("--method", "lvprunning"), "Did you mean 'lvpruning'?"),
        (("--method", "lvpruning:weights=x"), "weights are what is trained here"),
        (("--questions", "nowhere"), "nothing to learn from: no task at nowhere"),
        (("--held-out", "1"), "held_out is a share of the pictures"),
        (("--method", "lvpruning:keep=40:0.5"), "boundaries must lie in 1..15"),
    ],
)
def test_what_cannot_be_trained(tmp_path, more, words):
    result = train(tmp_path / "out", *more)
    assert result.exit_code == 1
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = train(tmp_path)
    assert result.exit_code == 1
    assert "exists and holds no training" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
