"""The command itself: light to import, real in a process of its own, complete in its help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import commands
from transprune import __version__, demo
from transprune.methods.common.recipe import METHODS

COMMANDS = sorted(commands())
# they write files, and print one line
WITHOUT_JSON = [("serve",), ("nano", "plot"), ("nano", "scenes"), ("nano", "train")]
WITHOUT_JSON += [
    ("smol", name) for name in ("adapter", "assemble", "language", "scenes", "train", "world")
]
SOURCE = Path(demo.__file__).parents[2]


def process(*args, **env):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", **env}
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=120, env=environment
    )


def test_import_is_light():
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'rich', 'safetensors'}"
    code = f"import sys, transprune.cli; print(sorted({heavy} & set(sys.modules)))"
    assert process("-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command(cli, command):
    group = cli(*command[:-1], "--help")
    assert command[-1] in group.out
    shown = cli(*command, "--help")
    assert shown.code == 0
    assert ("--json" in shown.out) == (command not in WITHOUT_JSON)


def test_no_arguments_show_the_help(cli):
    result = cli()
    assert "Commands" in result.out + result.err


def test_version(cli):
    assert cli("--version").out == f"transprune {__version__}\n"


def test_methods(cli):
    rows = cli("methods", "--json").data["methods"]

    assert [row["name"] for row in rows] == list(METHODS)

    for row in rows:
        assert row["title"]
        assert row["paper"]
        assert row["kind"] in ("projector-side", "within-LLM", "hybrid", "cache", "composition")

    by_name = {row["name"]: row for row in rows}

    assert by_name["visionzip"]["reads"][0].startswith("vision attention (CLS row")
    assert by_name["sparsevlm"]["reads"][:2] == [
        "attention of the instruction",
        "embeddings of image and instruction",
    ]
    assert by_name["shortv"]["reads"] == [
        "an order of layers, released or from `transprune calibrate`"
    ]
    assert "mean query" in by_name["pact"]["reads"]

    shown = cli("methods", env={"COLUMNS": "80"}).out

    assert max(map(len, shown.splitlines())) <= 80
    assert "transprune-iga" in shown
    assert "as published" in shown
    assert "deviates: " in shown


def test_calibrate(cli):
    scene = demo.folder() / "pictures" / "scene2.png"
    options = ("--model", "nano", "--image", scene, "--question", "what color is the circle ?")
    found = cli("calibrate", *options, "--freeze", 3, "--json").data

    assert found["prompts"] == 1
    assert sorted(found["order"]) == list(range(len(found["nats"])))
    assert found["recipe"] == f"shortv:order={','.join(map(str, found['order']))},count=3"
    assert found["nats"][found["order"][0]] == min(found["nats"])

    shown = cli("calibrate", *options).out

    assert "layer contribution, 1 prompt(s)" in " ".join(shown.split())
    assert "shortv:order=" in shown


def test_a_real_process(tmp_path):
    scene = demo.folder() / "pictures" / "scene2.png"
    options = (
        "--model",
        "nano",
        "--image",
        str(scene),
        "--question",
        "what color is the circle?",
        "--json",
    )

    done = process("-m", "transprune.cli", "run", *options)

    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["runs"][0]["answer"]


def test_a_real_error():
    done = process("-m", "transprune.cli", "cost", "--method", "nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no method 'nonsense'")


def test_a_terminal_without_our_marks(tmp_path):
    done = process("-m", "transprune.cli", "cost", "--paper", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "matches" in done.stdout
