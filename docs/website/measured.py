"""Rows of the measured tables of `docs/` that are about one method."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from transprune.errors import PruneError
from transprune.methods.common.recipe import parse

from .tables import Row, read_tables, section

DOCS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Source:
    """A table whose rows begin with a method or recipe.

    Attributes:
        page: file in `docs/`.
        heading: under which it stands; empty for the first table of the page.
        says: a sentence on what the figures are.
    """

    page: str
    heading: str
    says: str


SOURCES = (
    Source(
        "accuracy.md",
        "",
        "Right answers relative to the unpruned bundled model, in percent, at the same share of the "
        "unpruned work. `+` and `−`: better or worse than TransPrune.",  # noqa: RUF001
    ),
    Source(
        "trained.md",
        "What the bundled weights are worth",
        "Right answers relative to the unpruned bundled model on validation scenes, in percent, with "
        "95 % intervals.",
    ),
    Source(
        "overhead.md",
        "Overhead: time beside the cheapest possible run",
        "Time and memory of the prefill beside the unpruned one, and beside the cheapest possible run "
        "that keeps the same tokens; random weights, one thread of a CPU.",
    ),
)


def rows_of(method: str) -> Iterator[tuple[Source, list[Row]]]:
    """The tables with rows about a method, its head first; recipes of several parts count for none."""
    for source in SOURCES:
        table = _table(source)
        rows = [row for row in table[1:] if _method(row[0]) == method]
        if rows:
            yield source, [table[0], *rows]


@cache
def _table(source: Source) -> list[Row]:
    """The first table under the heading."""
    text = (DOCS / source.page).read_text(encoding="utf-8")
    return next(read_tables(section(text, source.heading) if source.heading else text))


@cache
def _method(label: str) -> str:
    """The registered name of the method that a row is about; empty where it is about none."""
    recipe = re.sub(r"[*`]", "", label).partition(" ")[0]
    try:
        return str(parse(recipe).name)
    except PruneError:  # an oracle, or a variant that only this table names
        return ""
