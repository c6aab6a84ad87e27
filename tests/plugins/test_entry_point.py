"""A method from somebody else's package: built, installed beside the library, found by its name alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "example"

SCRIPT = """
import torch
from transformers import AutoModelForImageTextToText
import transprune
from transprune import TransPrune, prune
from transprune.methods.common.recipe import METHODS
from transprune.methods import Unusual

assert METHODS.get("unusual") is Unusual and Unusual.__module__ == "example_pruner.unusual"
model = AutoModelForImageTextToText.from_pretrained(transprune.nano.path(), dtype=torch.float32).eval()
ids = torch.tensor([[1, 5, *[4] * 144, 7, 6]])
with torch.no_grad(), prune(model, "unusual:keep=36+transprune-low") as session:
    model(input_ids=ids, pixel_values=torch.randn(1, 3, 96, 96))
print([len(stage.keep[0]) for stage in session.trace.stages])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package as a wheel, unpacked by pip into a folder of its own; nothing is fetched."""
    folder, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(SOURCE, source)  # setuptools leaves its work beside what it builds
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    command += ["--disable-pip-version-check", "--target", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


def run(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_really_is_installed(installed):
    [info] = installed.glob("example_pruner-*.dist-info")
    assert "transprune.methods" in (info / "entry_points.txt").read_text()


def test_its_method_runs_by_name_and_composes(installed):
    assert (
        run(installed, "-W", "error::UserWarning", "-c", SCRIPT).split("\n")[0] == "[36, 22, 6, 2]"
    )


def test_the_command_line_lists_it(installed):
    assert "unusual" in run(installed, "-m", "transprune.cli", "methods")


def test_without_the_package_there_is_no_such_method():
    from transprune.errors import UnknownMethod
    from transprune.methods.common.recipe import resolve

    with pytest.raises(UnknownMethod):
        resolve("unusual")
