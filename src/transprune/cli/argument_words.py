"""What the arguments of a class mean, from its docstring and those of its bases."""

from __future__ import annotations

import inspect
import re


def setting_meanings(cls: type) -> dict[str, str]:
    """Setting -> its meaning, from the docstrings of the class and of its bases."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        # a class without a docstring of its own would show its parent's
        meanings |= read_arguments(vars(base).get("__doc__") or "")
    return meanings


def read_arguments(docstring: str) -> dict[str, str]:
    """The `Args` section of a docstring: name -> its text on one line."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.cleandoc(docstring), re.M | re.S)
    if section is None:
        return {}

    found = {}
    # an entry begins at the indentation of the section, its further lines stand deeper
    for entry in re.split(r"^ {4}(?=\S)", section.group(1), flags=re.M):
        names, colon, text = entry.partition(":")
        if colon:
            for name in names.split(","):
                found[name.strip()] = " ".join(text.split())

    return found


def find_meaning(name: str, meanings: dict[str, str]) -> str:
    """The meaning of a setting; `see budget` where that of another one explains it too.

    Empty where nothing does.
    """
    if name in meanings:
        return meanings[name]

    for other, meaning in meanings.items():
        if re.search(rf"\b{name}\b", meaning):
            return f"see {other}"
    return ""
