"""The sdist, the wheel from it, installed as a user does: without the training code and the clone.

What it depends on is not installed here; `make test-wheel` and `make test-extras` do that.
"""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import transprune

PACKAGE = Path(transprune.__file__).parent
PROJECT = PACKAGE.parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
LARGEST = 25 * 2**20  # bytes of the wheel, and of the sdist


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist of this checkout; built with the hatchling that is installed, so offline."""
    folder = tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (file,) = folder.glob("*.tar.gz")
    return file


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel, built from the sdist as a registry would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel; what it depends on is that of the running one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)

    # the packages of the running environment come after those of the fresh one
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "running.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


def clean() -> dict[str, str]:
    """The environment without the search path of this checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


@pytest.fixture
def command(installed, tmp_path):
    """Run the installed command in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed / "bin" / "transprune", *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            env=clean(),
        )

    return run


def test_the_wheel_has_the_checkpoint_and_no_training_code(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "transprune/nano/checkpoint/model.safetensors" in names
    assert "transprune/nano/checkpoint/pruners/lvpruning/pruner.safetensors" in names
    assert "transprune/nano/evaluate.py" in names
    assert "transprune/py.typed" in names
    assert {
        f"transprune/serve/page/{name}" for name in ("index.html", "page.css", "main.js")
    } <= set(names)
    training = ("transprune/nano/train/", "transprune/smol/train/")
    assert not [name for name in names if name.startswith(training)]
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_both_are_small(sdist, wheel) -> None:
    version = transprune.__version__
    assert sdist.name == f"transprune-{version}.tar.gz"
    assert wheel.name == f"transprune-{version}-py3-none-any.whl"
    assert wheel.stat().st_size < LARGEST
    assert sdist.stat().st_size < LARGEST


def test_the_sdist_has_what_the_clone_has(sdist) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    # what is trained, tested, documented and shown
    for name in ("src/transprune/nano/train/loop.py", "tests/conftest.py", "docs/methods.md"):
        assert name in names
    for name in ("Makefile", "constraints.txt", "CITATION.cff", "notebooks/quick_start.ipynb"):
        assert name in names
    assert not [name for name in names if name.startswith((".venv", "out/", "dist/", "demo-out/"))]


def test_the_code_is_that_of_the_wheel(installed) -> None:
    ask = "import transprune; print(transprune.__file__)"
    python = [installed / "bin" / "python", "-c", ask]
    found = subprocess.run(
        python, capture_output=True, text=True, check=True, cwd=installed, env=clean()
    )
    assert found.stdout.startswith(str(installed))


def test_version_and_methods(command) -> None:
    assert command("--version").stdout == f"transprune {transprune.__version__}\n"
    listed = command("methods")
    assert listed.returncode == 0, listed.stderr
    assert "transprune" in listed.stdout
    assert "visionzip" in listed.stdout


def test_a_question_is_answered_far_from_the_clone(command, tmp_path) -> None:
    Image.new("RGB", (96, 96), "orange").save(tmp_path / "picture.png")
    asked = ("--image", "picture.png", "--question", "is there a circle?", "--json")
    result = command("run", "--model", "nano", "--overlay", "kept.png", *asked)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["runs"][0]["trace"]["visual_tokens"] == [144]
    assert (tmp_path / "kept.png").is_file()


@pytest.mark.parametrize("name", ["train", "plot"])
def test_training_commands_say_where_their_code_is(command, tmp_path, name) -> None:
    result = command("nano", name)
    assert result.returncode == 1
    assert "source repository" in result.stderr
    assert "pip install -e ." in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_evaluating_needs_no_training_code(command) -> None:
    result = command("nano", "evaluate", "--scenes", "2", "--threads", "1", "--json")
    assert result.returncode == 0, result.stderr
    assert '"families"' in result.stdout


def test_nothing_outside_the_package_imports_the_training_code() -> None:
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(from|import) transprune\.(nano|smol)\.train", code, re.MULTILINE):
            importing.add(path.relative_to(PACKAGE).as_posix())

    training = ("nano/train/", "smol/train/")
    outside = {name for name in importing if not name.startswith(training)}
    assert outside == {"cli/nano.py", "cli/smol_training.py"}
