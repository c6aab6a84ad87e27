"""The face of the package, and who may import whom."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import transprune

SOURCE = Path(transprune.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]


def test_a_small_sorted_face() -> None:
    assert transprune.__all__ == sorted(transprune.__all__)
    assert len(set(transprune.__all__)) == len(transprune.__all__) <= 18
    assert {"prune", "Session", "TransPrune", "FastV", "Compose", "PruneError"} <= set(
        transprune.__all__
    )


@pytest.mark.parametrize("name", transprune.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(transprune, name)
    assert name in dir(transprune)
    assert getattr(value, "__name__", name).rpartition(".")[2] == name


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'transprune' has no attribute 'Prune'"):
        transprune.Prune  # noqa: B018
    assert not hasattr(transprune, "methodz")


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?\w+)?", transprune.__version__)


def modules_after(code: str) -> set[str]:
    """Names of the modules a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_loads_nothing_heavy() -> None:
    heavy = {
        "torch",
        "transformers",
        "matplotlib",
        "typer",
        "rich",
        "numpy",
        "PIL",
        "peft",
        "accelerate",
    }
    assert not heavy & modules_after("import transprune")


def test_counting_costs_loads_no_torch() -> None:
    loaded = modules_after("from transprune.cost.paper import paper_table; paper_table()")
    assert not {"torch", "transformers", "matplotlib", "typer"} & loaded


def test_methods_load_no_transformers() -> None:
    loaded = modules_after("from transprune import TransPrune; TransPrune.high()")
    assert not {"transformers", "matplotlib", "typer"} & loaded


# ---------------------------------------------------------------------------------------------- who imports whom


def imported(path: Path) -> Iterator[str]:
    """Dotted names a file imports anywhere in it, those for type checking only left out."""
    package = ("transprune", *path.relative_to(SOURCE).parts[:-1])
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """The parts of transprune a file imports: `methods`, `views`, `runtime`, ..."""
    names = [name.split(".") for name in imported(path)]
    return {name[1] for name in names if name[0] == "transprune" and len(name) > 1}


def test_the_walk_sees_imports() -> None:
    assert "methods" in ours(SOURCE / "runtime" / "stage.py")
    assert "families" in ours(SOURCE / "session.py")
    assert "core" in ours(SOURCE / "methods" / "fastv.py")
    assert "torch.nn.Module" not in set(imported(SOURCE / "core" / "schedule.py"))


# from the ground up: a part imports from the parts before it, never from one behind it
ORDER = (
    "errors",
    "registry",
    "core",
    "algebra",
    "video",
    "families",
    "cost",
    "methods",
    "trace",
    "runtime",
    "session",
    "nano",
    "smol",
    "models",
    "tiles",
    "bench",
    "speed",
    "report",
    "integrations",
    "reproduce",
    "tune",
    "training",
    "demo",
    "batch",
    "serve",
    "cli",
)


def part_of(path: Path) -> str:
    """The part of the package a file belongs to: a folder or a module at the root."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_few_modules_stand_at_the_root() -> None:
    modules = sorted(path.name for path in SOURCE.glob("*.py"))
    assert len(modules) <= 6, modules
    assert {part_of(path) for path in FILES} == {*ORDER, "__init__"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_run_one_way(path: Path) -> None:
    if path.parent == SOURCE and path.name == "__init__.py":
        return
    part = part_of(path)
    below = set(ORDER[: ORDER.index(part) + 1])
    assert ours(path) & set(ORDER) <= below


# what each party must not know, although it stands lower
APART = {
    "methods": {"families", "cost"},
    "families": {"algebra"},
    "runtime": {"cost"},
    "nano": set(ORDER) - {"errors", "nano"},
    "smol": set(ORDER) - {"errors", "nano", "smol"},
}


@pytest.mark.parametrize("part", APART)
def test_parties_keep_to_themselves(part: str) -> None:
    files = sorted((SOURCE / part).rglob("*.py"))
    assert len(files) > 3
    for path in files:
        assert not ours(path) & APART[part], path.name


def test_methods_know_no_model() -> None:
    for path in sorted((SOURCE / "methods").rglob("*.py")):
        if path.name == "recipe_file.py":  # a recipe may lie on the hub
            continue
        names = [name for name in imported(path) if name.startswith(("transformers", "torch.nn"))]
        modules = [name for name in names if not name.startswith("torch.nn.functional")]
        assert not modules, path.name


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_only_the_runtime_registers_hooks(path: Path) -> None:
    if part_of(path) == "runtime":
        return
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"register_\w*hook|_forward_hooks|_forward_pre_hooks", text)


def test_the_runtime_does_register_hooks() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "runtime").rglob("*.py"))
    assert re.search(r"register_forward_pre_hook", text) and re.search(
        r"register_forward_hook", text
    )


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_is_evaluated_or_executed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile", "__import__"}


def test_no_file_names_a_place_outside_the_package() -> None:
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in {".py", ".md", ".json", ".jinja", ".txt", ".typed"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/work\b|\bshared/|/home/|/root/|/tmp/", text), path
