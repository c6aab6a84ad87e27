"""A page for each public name: docs/public.md says which, their docstrings say what they are."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from .tables import escape, write_table

PAGE = Path(__file__).parents[1] / "public.md"


@dataclass(frozen=True)
class Name:
    """One line of the list.

    Attributes:
        path: dotted, as `transprune.core.views.LayerView`.
        says: what stands behind it in the list.
        group: the heading above it.
    """

    path: str
    says: str
    group: str

    @property
    def file(self) -> str:
        """Path of its page on the site. Names that differ in case only have two pages."""
        # `transprune.Cost` and `transprune.cost` are one file where case does not count
        short = self.path.removeprefix("transprune.")
        kind = "module-" if isinstance(find(self.path), ModuleType) else ""
        return f"reference/{kind}{short}.md"


def public_names() -> list[Name]:
    """Every name of docs/public.md, in its order."""
    names = []
    group = ""
    # an entry may go on in the next line, behind two spaces
    for line in PAGE.read_text(encoding="utf-8").replace("\n  ", " ").splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        entry = re.match(r"- `(transprune[\w.]*)`: (.*)", line)
        if entry:
            names.append(Name(entry.group(1), entry.group(2), group))
    return names


def find(path: str) -> Any:
    """The object with a dotted name: a module, or an attribute of one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, attribute = path.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


def members(module: ModuleType) -> list[str]:
    """Names of the public functions and classes that a module or package defines, in its order."""
    names = []
    for name, value in vars(module).items():
        defined = getattr(value, "__module__", "") or ""
        own = defined == module.__name__ or defined.startswith(f"{module.__name__}.")
        if (
            own
            and not name.startswith("_")
            and (inspect.isfunction(value) or inspect.isclass(value))
        ):
            names.append(name)
    return names


def reference_pages() -> dict[str, str]:
    """The page of every public name, and their list, by the path on the site."""
    pages = {name.file: "\n".join(_page(name)) for name in public_names()}
    pages["reference/index.md"] = "\n".join(_index())
    return pages


def _index() -> Iterator[str]:
    """The list of all names."""
    yield "# Reference\n"
    yield "The names that keep their meaning within a minor version ([what is public](../public.md)).\n"
    for group in dict.fromkeys(name.group for name in public_names()):
        rows = [["name", ""]]
        for name in public_names():
            if name.group == group:
                link = name.file.removeprefix("reference/")
                rows.append([f"[`{name.path}`]({link})", escape(name.says)])
        yield f"## {group}\n\n{write_table(rows)}"


def _page(name: Name) -> Iterator[str]:
    """One name, or what a module has."""
    value = find(name.path)
    yield f"# `{name.path.removeprefix('transprune.')}`\n"
    yield f"{name.says[:1].upper()}{name.says[1:]}.\n"
    yield "```{eval-rst}"
    if isinstance(value, ModuleType):
        yield from _module(value)
    else:
        yield from _directive(name.path, value)
    yield "```"


def _module(module: ModuleType) -> Iterator[str]:
    """The docstring of a module, and all that it defines."""
    listed = {id(find(name.path)) for name in public_names() if "." in name.path}
    yield f".. automodule:: {module.__name__}\n   :no-members:\n"
    for name in members(module):
        value = getattr(module, name)
        # what has a page of its own is described there
        if id(value) not in listed:
            yield from _directive(f"{module.__name__}.{name}", value)


def _directive(path: str, value: Any) -> Iterator[str]:
    """The directive that shows one class or function; of a class also bases without a page."""
    if not inspect.isclass(value):
        yield f".. autofunction:: {path}\n"
        return

    yield f".. autoclass:: {path}\n   :members:\n   :member-order: bysource\n"
    for base in _bases_without_page(value):
        yield f".. rubric:: What it has from {base.__name__}\n"
        name = f"{base.__module__}.{base.__name__}"
        yield f".. autoclass:: {name}\n   :members:\n   :member-order: bysource\n   :no-index:\n"


def _bases_without_page(cls: type) -> list[type]:
    """Bases of ours that are shown nowhere else: neither themselves nor with another public class."""
    shown: set[type] = set()
    for public in described():
        if public is not cls and inspect.isclass(public) and issubclass(cls, public):
            shown |= set(public.__mro__)
    return [
        base
        for base in cls.__mro__[1:]
        if base.__module__.startswith("transprune.") and base not in shown
    ]


@cache
def described() -> tuple[Any, ...]:
    """Every class and function that the reference describes."""
    found = []
    for name in public_names():
        value = find(name.path)
        if isinstance(value, ModuleType):
            found += [getattr(value, member) for member in members(value)]
        else:
            found.append(value)
    return tuple(found)
