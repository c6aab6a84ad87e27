"""Docstrings of this project as reStructuredText and as Markdown.

They are written for people: single backticks mark code, an indented block is an example, and
`Args`, `Returns`, `Raises` and `Attributes` are sections. Napoleon reads the sections; the rest is
brought into a form that Sphinx takes without guessing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields")

# what has a meaning in reStructuredText and none in our docstrings
SPECIAL = re.compile(r"([*|\\]|\b_(?=\W|$)|(?<=\w)_(?=\W|$))")


def to_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring, with code, examples and special characters marked for Sphinx."""
    out: list[str] = []
    in_section = False
    in_example = False

    for line in lines:
        indented = line.startswith("    ") and line.strip() != ""
        if line.rstrip(":") in SECTIONS:
            in_section = True
        elif line.strip() and not indented:
            in_section = False

        if indented and not in_section:
            if not in_example:
                out += [
                    ".. code-block:: text" if _is_drawing(line) else ".. code-block:: python",
                    "",
                ]
            in_example = True
            out.append(line)
            continue

        in_example = in_example and line.strip() == ""
        out.append(_mark(line))
    return out


def prose(docstring: str) -> str:
    """The paragraphs in front of the first section, as Markdown; addresses become links."""
    text = inspect.cleandoc(docstring)
    end = re.search(rf"^(?:{'|'.join(SECTIONS)}):$", text, re.MULTILINE)
    text = text[: end.start()] if end else text
    return re.sub(r"(?<![(<])(https?://[^\s)>]+?)(?=[.,;:]?(?:\s|\)|$))", r"<\1>", text).strip()


def summary(docstring: str) -> str:
    """The first paragraph on one line."""
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())


def _is_drawing(line: str) -> bool:
    """Whether an example is a table, a tree or a command, and no Python."""
    text = line.strip()
    return bool(re.search(r"[├└│]|\S {2,}\S|^transprune |^\[|^\{", text)) or text == "PruneError"


def _mark(line: str) -> str:
    """One line of prose: code in double backticks, special characters escaped outside of it."""
    return "".join(_parts(line))


def _parts(line: str) -> Iterator[str]:
    for number, part in enumerate(re.split(r"`([^`]*)`", line)):
        yield f"``{part}``" if number % 2 else SPECIAL.sub(r"\\\1", part)
