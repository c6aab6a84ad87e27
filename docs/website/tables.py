"""Tables of Markdown pages: read from a text, and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

Row = list[str]


def read_tables(text: str) -> Iterator[list[Row]]:
    """Every table of a page: its rows of cells, the head first, without the line of dashes."""
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        head, _, *body = block.splitlines()
        yield [_cells(line) for line in (head, *body)]


def write_table(rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; the first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def section(text: str, title: str) -> str:
    """The part of a page under the heading `title`, up to the next heading of any level.

    Raises:
        ValueError: no such heading.
    """
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no heading {title!r}; was it renamed?")
    return found.group(1)


def escape(text: str) -> str:
    """Text for a cell: a bar would end it."""
    return " ".join(text.split()).replace("|", r"\|")


def _cells(line: str) -> Row:
    """The cells of one line; a bar behind a backslash belongs to its cell."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
