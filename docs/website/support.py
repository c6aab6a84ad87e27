"""What the contract tests found, read from the tables of docs/support.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from transprune.families.base import FAMILIES

from .tables import escape, read_tables, section, write_table

PAGE = Path(__file__).parents[1] / "support.md"
TESTED = "✓"
UNTESTED = "·"


@dataclass(frozen=True)
class Support:
    """The cells of the page.

    Attributes:
        methods: model type -> method -> cell.
        modes: model type -> mode -> cell.
        reasons: number -> why it is refused.
    """

    methods: Mapping[str, Mapping[str, str]]
    modes: Mapping[str, Mapping[str, str]]
    reasons: Mapping[str, str]

    def why(self, cell: str) -> str:
        """The reasons that the numbers of a cell stand for, as sentences."""
        numbers = re.findall(r"\d+", cell)
        return " ".join(sentence(self.reasons[number]) for number in numbers)


@cache
def read_support() -> Support:
    """The page docs/support.md."""
    text = PAGE.read_text(encoding="utf-8")
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", section(text, "Refused"), re.MULTILINE))
    return Support(_cells(text, "Methods"), _cells(text, "Modes"), reasons)


def outcomes(heading: str, of: str, cells: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A section on what was found, as Markdown.

    Args:
        heading: of the section.
        of: what the links lead to, as the first column is named.
        cells: link and cell of each pair of method and model.
    """
    support = read_support()
    works, untried = [], []
    refused = [[of, "why"]]
    for link, cell in cells:
        if cell.startswith(TESTED):
            works.append(link)
        elif cell == UNTESTED:
            untried.append(link)
        else:
            refused.append([link, escape(support.why(cell))])

    yield f"## {heading}\n"
    if works:
        tested = "Tested on tiny models of the true classes ([how](../support.md))"
        yield f"{tested}: {', '.join(works)}.\n"
    if len(refused) > 1:
        yield "Refused, with the reason:\n\n" + write_table(refused)
    if untried:
        yield f"Not tested in that table: {', '.join(untried)}.\n"


def own_families() -> list[str]:
    """Model types that this library knows by name."""
    return [name for name in FAMILIES if FAMILIES.get(name).kind != "generic"]


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _cells(text: str, title: str) -> dict[str, dict[str, str]]:
    """The table under a heading: model type -> column -> cell."""
    table = next(read_tables(section(text, title)))
    columns = table[0][1:]

    cells = {}
    for label, *row in table[1:]:
        model_type = label.split("`")[1]
        cells[model_type] = dict(zip(columns, row, strict=True))
    return cells
