"""`transprune tune` from the command line: a whole search, continued, and refused."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from transprune.cli import app
from transprune.core import strict_json
from transprune.methods.common.recipe import resolve
from transprune.tune.journal import JOURNAL_FILE
from transprune.tune.settings import work_folder

SMALL = ("--threads", "1", "--n", "3", "--batch-size", "9", "--answer-tokens", "2")


def call(*arguments):
    return CliRunner().invoke(
        app, ["tune", *map(str, arguments)], env={"COLUMNS": "100"}, catch_exceptions=False
    )


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search of four trials: its folder and its output."""
    folder = tmp_path_factory.mktemp("tune") / "found"
    return folder, call("--budget", "0.4", "--out", folder, "--trials", "4", *SMALL)


@pytest.fixture
def folder(search):
    return search[0]


@pytest.fixture
def cli():
    return call


def test_a_search_writes_a_recipe_with_its_provenance(search):
    folder, result = search
    assert result.exit_code == 0, result.stderr
    assert "9 held-out questions" in result.stdout
    method = resolve(str(folder))
    assert method.name == "transprune"
    assert (folder / "front.png").stat().st_size > 1000

    data = strict_json.read((folder / "tune.json").read_bytes())
    assert data["found"]["method"] == repr(method)
    assert data["found"]["cost"] == pytest.approx(0.4, abs=0.01)
    assert (data["searched"], data["held_out"], data["seed"]) == (18, 9, 0)
    assert {"optuna", "torch", "transformers", "transprune"} <= set(data["versions"])
    assert [row["name"] for row in data["held_out_figures"]] == ["found", "transprune"]


def test_more_trials_go_on_with_the_same_search(cli, folder):
    result = cli("--budget", "0.4", "--out", folder, "--trials", "6", *SMALL, "--json")

    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["complete"] + data["stopped"] <= 6
    assert data["trials"] == 6


def test_other_settings_in_the_folder_are_refused(cli, folder):
    before = (folder / "tune.json").read_bytes()
    result = cli("--budget", "0.3", "--out", folder, "--trials", "6", "--seed", "1", *SMALL)

    assert result.exit_code == 1
    assert "budget was '0.4', now '0.3'" in result.stderr
    assert "seed was 0, now 1" in result.stderr
    assert (folder / "tune.json").read_bytes() == before


def test_a_second_process_is_refused(cli, folder):
    with work_folder(folder).alone():
        result = cli("--budget", "0.4", "--out", folder, "--trials", "6", *SMALL)
    assert result.exit_code == 1
    assert "another process has a search" in result.stderr


def test_questions_of_your_own(cli, pictures):
    lines = [{"image": f"{number}.png", "question": "what color?"} for number in range(3)]
    file = pictures / "my.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    out = pictures / "out"

    result = cli(
        "--questions",
        file,
        "--budget",
        "0.2:0.6",
        "--loss",
        "last-token",
        "--cost",
        "kv",
        "--method",
        "divprune",
        "--trials",
        "5",
        "--out",
        out,
        "--threads",
        "1",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    points = json.loads(result.stdout)["front"]
    assert all(0.19 <= point["cost"] <= 0.61 for point in points)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--budget", "41"), "a share of the unpruned model between 0 and 1"),
        (("--budget", "0.02"), "no given method reaches 2.0 % here: the nearest is"),
        (("--budget", "0.4", "--held-out", "1"), "held_out is a share"),
        (("--budget", "0.4", "--method", "tranprune"), "Did you mean 'transprune'"),
        (("--budget", "0.4", "--n", "1"), "two or more pictures"),
        (("--budget", "0.4", "--questions", "nowhere.jsonl"), "no questions at nowhere.jsonl"),
    ],
)
def test_what_cannot_be_searched(cli, tmp_path, arguments, reason):
    out = tmp_path / "out"
    result = cli("--n", "2", "--out", out, "--threads", "1", *arguments)
    assert result.exit_code == 1
    assert reason in " ".join(result.stderr.split())
    assert not out.exists()


def test_a_folder_with_something_else_is_left_alone(cli, tmp_path):
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    result = cli("--budget", "0.4", "--out", tmp_path, "--n", "2")
    assert result.exit_code == 1
    assert "holds no search" in result.stderr


def test_without_optuna_the_extra_is_named(cli, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "optuna":
            raise ImportError("no optuna")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    result = cli("--budget", "0.4", "--out", tmp_path / "out", "--n", "2")
    assert result.exit_code == 1
    assert "pip install 'transprune[tune]'" in result.stderr


@pytest.mark.slow
def test_a_killed_process_goes_on(cli, tmp_path):
    arguments = ("--budget", "0.4", "--trials", "6", *SMALL)
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "transprune.cli", "tune", "--out", str(killed), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = killed / JOURNAL_FILE

    # some trials are written, others are not
    for _ in range(1200):
        if journal.exists() and journal.read_bytes().count(b'"recipe"') >= 3:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert not (killed / "tune.json").exists()

    results = []
    for folder in (killed, tmp_path / "whole"):
        result = cli("--out", folder, *arguments, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        results.append((found["found"]["method"], found["found"]["loss"], found["complete"]))
    assert results[0] == results[1]
