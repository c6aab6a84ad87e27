"""Imports between the folders go one way: data <- results, data <- run <- measure <- launch."""

import ast
from pathlib import Path

import pytest

import transprune.bench

ROOT = Path(transprune.bench.__file__).parent
PACKAGE = "transprune.bench."

# folder -> folders it may import; the files beside them stand above all of them
ALLOWED = {
    "data": set(),
    "results": {"data"},
    "run": {"data"},
    "measure": {"data", "run"},
}
ABOVE = ("__init__", "plan", "describe", "launch")


def _imported(file):
    """Folders (or modules) of the benchmark that a file imports, lazily or not."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            # `from transprune.bench import data` names the folder only in its last part
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]

    inside = [name.removeprefix(PACKAGE) for name in names if name.startswith(PACKAGE)]
    return {name.split(".")[0] for name in inside}


def test_every_folder_is_in_the_table():
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert folders == set(ALLOWED)
    assert {file.name for file in ROOT.glob("*.py")} == {f"{name}.py" for name in ABOVE}


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_folders_below_it(folder):
    for file in (ROOT / folder).rglob("*.py"):
        assert _imported(file) <= ALLOWED[folder] | {folder}, file
