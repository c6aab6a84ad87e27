"""Every public name of docs/public.md imports, and so does every import path of 0.1.0 that moved."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import transprune
from transprune import _MOVED

PAGE = Path(__file__).parents[2] / "docs" / "public.md"
PUBLIC = re.findall(r"^- `(transprune[\w.]*)`: ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def find(name: str) -> Any:
    """The object with a dotted name: a module, or an attribute of one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


def run(*arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_imports(name: str) -> None:
    assert find(name) is not None


def test_the_page_lists_each_name_once() -> None:
    assert len(PUBLIC) > 30
    assert len(set(PUBLIC)) == len(PUBLIC)


def test_the_page_lists_the_whole_face_of_the_package() -> None:
    listed = {name.removeprefix("transprune.") for name in PUBLIC}
    # lower-case names with one dot may also be modules that are not in `__all__`
    at_the_root = {name for name in listed if "." not in name}
    assert at_the_root - {"cost", "errors"} == set(transprune.__all__)


@pytest.mark.parametrize(("old", "new"), _MOVED.items())
def test_an_old_path_gives_the_module_itself(old: str, new: str) -> None:
    moved = importlib.import_module(f"transprune.{old}")
    assert isinstance(moved, ModuleType)
    assert moved is importlib.import_module(f"transprune.{new}")


def test_an_old_path_works_in_a_fresh_interpreter() -> None:
    # here nothing has imported the new path before
    script = (
        "from transprune.schedule import Schedule\n"
        "from transprune.methods.keeping import KeepPruner\n"
        "import transprune.views\n"
        "print(Schedule.__module__, KeepPruner.__module__, transprune.views.__name__)"
    )
    expected = "transprune.core.schedule transprune.methods.common.projector transprune.core.views"
    assert run("-c", script) == expected


def test_the_command_line_runs_as_a_module() -> None:
    assert transprune.__version__ in run("-m", "transprune.cli", "--version")


def test_the_bundled_model_is_found_without_torch() -> None:
    script = (
        "import sys\n"
        "from transprune.nano import path\n"
        "print((path() / 'config.json').is_file(), 'torch' in sys.modules)"
    )
    assert run("-c", script) == "True False"
