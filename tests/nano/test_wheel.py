"""The training code is not in the wheel; everything else works without it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import transprune

PACKAGE = Path(transprune.__file__).parent
PROJECT = PACKAGE.parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package as a wheel installs it: without `nano/train`."""
    root = tmp_path_factory.mktemp("installed")

    def ignore(folder: str, names: list[str]) -> set[str]:
        dropped = {"train"} if Path(folder) == PACKAGE / "nano" else set()
        return dropped | ({"__pycache__"} & set(names))

    shutil.copytree(PACKAGE, root / "transprune", ignore=ignore)
    return root


def command(installed: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # run from the copy: with `-m`, the current folder comes first in the search path
    return subprocess.run(
        [sys.executable, "-m", "transprune.cli", *args],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"},
    )


@pytest.mark.parametrize("name", ["train", "plot"])
def test_training_commands_say_where_their_code_is(installed, name) -> None:
    result = command(installed, "nano", name)
    assert result.returncode == 1
    assert "source repository" in result.stderr
    assert "pip install -e ." in result.stderr
    assert "Traceback" not in result.stderr
    assert not (installed / "out").exists()


def test_evaluating_needs_no_training_code(installed) -> None:
    result = command(installed, "nano", "evaluate", "--scenes", "2", "--threads", "1", "--json")
    assert result.returncode == 0, result.stderr
    assert '"families"' in result.stdout


def test_nothing_outside_the_package_imports_the_training_code() -> None:
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(from|import) transprune\.nano\.train", code, re.MULTILINE):
            importing.add(path.relative_to(PACKAGE).as_posix())

    outside = {name for name in importing if not name.startswith("nano/train/")}
    assert outside == {"cli/nano.py"}


def test_the_build_configuration_leaves_it_out() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[tool.hatch.build.targets.wheel]")[1].split("\n[")[0]
    assert 'exclude = ["src/transprune/nano/train"]' in section
    assert (PACKAGE / "nano" / "train" / "run.py").exists()


@pytest.mark.skipif(not importlib.util.find_spec("hatchling"), reason="hatchling is not installed")
def test_a_built_wheel_has_the_checkpoint_and_no_training_code(tmp_path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*build, "-w", tmp_path], cwd=PROJECT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "transprune/nano/checkpoint/model.safetensors" in names
    assert "transprune/nano/evaluate.py" in names
    assert not [name for name in names if name.startswith("transprune/nano/train/")]
