"""Docstrings of public names say shapes, dtypes, defaults, errors and sources.

Rules a machine can check, for every name of docs/public.md and the public members of its classes:

1. There is a docstring, and every parameter and every field is named in it.
2. Where tensors come or go, a shape stands in brackets; where they go, a dtype stands beside it.
3. A default that a reader cannot guess is in the signature, which the reference prints; where the
   docstring promises one ("Default 192"), it is the true one.
4. Every error of ours that the body raises, or that a private helper of its module raises for it, is
   named.
5. A method of a paper gives its link.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from transprune import errors
from transprune.cli.argument_words import read_arguments
from transprune.methods.common.recipe import METHODS
from unit.test_public_names import PUBLIC, find

OURS = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.PruneError)
}

# what a signature says whose meaning is that of the class
UNNAMED = {"self", "cls", "args", "kwargs", "changes"}

SHAPE = re.compile(r"\[(\.\.\.|[\w'][\w' *+/-]*)(, (\.\.\.|[\w'][\w' *+/-]*))*\]|0-d")
DTYPE = re.compile(r"\b(float32|fp32|float|long|bool|dtype)\b|[Ii]ndices")
METHODS_OF_PAPERS = [
    name for name in METHODS if METHODS.get(name).fidelity in ("exact", "reconstructed", "trained")
]


def things() -> Iterator[tuple[str, Any, Any]]:
    """Every public function and class: its dotted name, itself, and the class it is a member of."""
    for name in PUBLIC:
        value = find(name)
        if isinstance(value, ModuleType):
            for member in defined_in(value):
                yield from expand(f"{name}.{member}", getattr(value, member))
        else:
            yield from expand(name, value)


def defined_in(module: ModuleType) -> list[str]:
    """Public functions and classes that a module or package of ours defines."""
    names = []
    for name, value in vars(module).items():
        if name.startswith("_") or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if value.__module__.startswith(module.__name__):
            names.append(name)
    return names


def expand(name: str, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """A class with its public members, those of bases of ours included, or a function."""
    yield name, value, None
    if not inspect.isclass(value):
        return
    for member, entry in members_of(value).items():
        inner = getattr(entry, "__func__", None) or getattr(entry, "fget", None) or entry
        if not member.startswith("_") and inspect.isfunction(inner):
            yield f"{name}.{member}", inner, value


def members_of(cls: type) -> dict[str, Any]:
    """Names and values of a class; the most derived definition of each, none of other packages."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("transprune."):
            found |= vars(base)
    return found


THINGS = {name: (value, owner) for name, value, owner in things()}
FUNCTIONS = {name: pair for name, pair in THINGS.items() if not inspect.isclass(pair[0])}
CLASSES = {name: value for name, (value, _) in THINGS.items() if inspect.isclass(value)}


def text_of(value: Any, owner: Any) -> str:
    """The docstring; of a member also that of its class, and of the members that it overrides."""
    texts = [inspect.getdoc(value) or ""]
    for base in owner.__mro__ if owner else ():
        inherited = vars(base).get(value.__name__)
        texts.append(inspect.getdoc(inherited) or "" if inherited else "")
        texts.append(vars(base).get("__doc__") or "")
    return "\n".join(texts)


def names_it(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text) is not None


def test_there_are_things_to_check():
    assert len(FUNCTIONS) > 100
    assert len(CLASSES) > 40


@pytest.mark.parametrize("name", THINGS)
def test_it_has_a_docstring(name):
    value, _ = THINGS[name]
    assert vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_named(name):
    value, owner = FUNCTIONS[name]
    text = text_of(value, owner)
    parameters = [
        parameter
        for parameter in inspect.signature(value).parameters
        if parameter not in UNNAMED and not parameter.startswith("_")
    ]
    # one parameter that the first line is about needs no list
    if len(parameters) == 1:
        return
    missing = [parameter for parameter in parameters if not names_it(text, parameter)]
    assert not missing, f"not named in the docstring of {name}: {missing}"


@pytest.mark.parametrize(
    "name", [name for name in CLASSES if dataclasses.is_dataclass(CLASSES[name])]
)
def test_every_field_is_named(name):
    cls = CLASSES[name]
    text = "\n".join(vars(base).get("__doc__") or "" for base in cls.__mro__)
    fields = [field.name for field in dataclasses.fields(cls) if not field.name.startswith("_")]
    missing = [field for field in fields if not names_it(text, field)]
    assert not missing, f"not named in the docstring of {name}: {missing}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tensors_have_shapes(name):
    value, owner = FUNCTIONS[name]
    annotations = " ".join(map(str, value.__annotations__.values()))
    if re.search(r"\bTensor\b|\bScores\b", annotations):
        assert SHAPE.search(text_of(value, owner)), f"{name} has tensors and says no shape"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tensors_that_are_returned_have_dtypes(name):
    value, owner = FUNCTIONS[name]
    if re.search(r"\bTensor\b|\bScores\b", str(value.__annotations__.get("return"))):
        assert DTYPE.search(text_of(value, owner)), f"{name} returns tensors and says no dtype"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_named(name):
    value, owner = FUNCTIONS[name]
    text = text_of(value, owner)
    # what making an object raises is said by its class
    missing = sorted(error for error in raised_by(value) if not names_it(text, error))
    assert not missing, f"{name} raises {missing} and does not say so"


@pytest.mark.parametrize("name", CLASSES)
def test_errors_of_making_one_are_named(name):
    cls = CLASSES[name]
    # the `__init__` that dataclasses write has no source, and raises nothing of ours
    makers = ["__post_init__"] if dataclasses.is_dataclass(cls) else ["__init__"]
    made_by = [vars(cls)[maker] for maker in makers if inspect.isfunction(vars(cls).get(maker))]
    raised = {error for maker in made_by for error in raised_by(maker)}
    text = "\n".join(vars(base).get("__doc__") or "" for base in cls.__mro__)
    assert not {error for error in raised if not names_it(text, error)}, name


def raised_by(function: Callable[..., Any]) -> set[str]:
    """Our errors that a function raises by name, also in private functions of its module."""
    module = importlib.import_module(function.__module__)
    seen: set[str] = set()
    found: set[str] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if not inspect.isfunction(current) or current.__qualname__ in seen:
            continue
        seen.add(current.__qualname__)
        tree = ast.parse(textwrap.dedent(inspect.getsource(current)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                found.add(ast.unparse(node.exc.func))
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id.startswith("_"):
                waiting.append(getattr(module, called.id, None))
    return found & OURS


@pytest.mark.parametrize("name", METHODS_OF_PAPERS)
def test_a_method_gives_its_source(name):
    cls = METHODS.get(name)
    assert re.search(r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|\S+)", cls.__doc__), name
    number = re.search(r"arXiv (\d{4}\.\d{4,5})", cls.paper)
    if number:
        assert number.group(1) in cls.__doc__


def defaults_of(name: str) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(METHODS.get(name))}


def promised_defaults() -> Iterator[tuple[str, str, float]]:
    """Numbers that docstrings promise, `keep: ... Default 192`: method, setting and number."""
    for name in METHODS:
        for setting, meaning in read_arguments(
            vars(METHODS.get(name)).get("__doc__") or ""
        ).items():
            # "Default 1, 1, 0.01" belongs to several settings at once
            promised = re.search(r"Default (-?\d+(?:\.\d+)?)(?![\d/]|\.\d|, \d| %)", meaning)
            default = defaults_of(name)[setting]
            # None and the like stand for a number that depends on the model
            if promised and isinstance(default, (int, float)):
                yield name, setting, float(promised.group(1))


PROMISED = list(promised_defaults())


def test_docstrings_promise_defaults():
    assert len(PROMISED) > 30


@pytest.mark.parametrize(("name", "setting", "number"), PROMISED)
def test_a_default_that_is_promised_is_the_true_one(name, setting, number):
    assert defaults_of(name)[setting] == pytest.approx(number)
