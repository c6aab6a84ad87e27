"""Code blocks of the pages: where they stand, what they are, and what they need.

A mark is a comment of HTML right above a block, which no reader sees:

    <!-- needs: weights -->    a real checkpoint; also `gpu`, `network`, `server`, `ray`, `judge`
    <!-- long -->              hours of work
    <!-- slow -->              runs here, in `make test-all`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NEEDS = ("weights", "gpu", "network", "server", "ray", "judge")
MARK = re.compile(r"<!-- (?:needs: (?P<needs>[a-z, ]+)|(?P<time>long|slow)) -->")

# languages of blocks that are no commands: nothing of them can be run
SHOWN = ("text", "json", "toml", "diff")


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        page: name of the file, from the top of the repository.
        line: number of its first fence.
        language: what stands behind the fence; empty for commands.
        text: what is between the fences.
        marks: what it needs, or how long it takes.
    """

    page: str
    line: int
    language: str
    text: str
    marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is to be run here."""
        return self.language not in SHOWN and not set(self.marks) & {*NEEDS, "long"}

    @property
    def commands(self) -> list[str]:
        """The commands of a block of commands: continued lines joined, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        # a comment behind a command, and variables of the environment in front of it
        commands = [re.sub(r"^([A-Z_]+=\S* )+|(^|\s)#( .*|$)", "", line).strip() for line in lines]
        return [command for command in commands if command]


def all_blocks() -> Iterator[Block]:
    """Every block of the README and of the pages in `docs/`."""
    for page in PAGES:
        yield from read_blocks(page)


def read_blocks(page: Path) -> Iterator[Block]:
    """The blocks of one page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue

        text = "\n".join(lines[start + 1 : number])
        name = page.relative_to(ROOT).as_posix()
        yield Block(name, start + 1, lines[start][3:].strip(), text, _marks(lines[:start]))
        start = None


def _marks(above: list[str]) -> tuple[str, ...]:
    """Marks in the lines right above a block."""
    marks: list[str] = []
    for line in reversed(above):
        found = MARK.fullmatch(line.strip())
        if found is None:
            break
        marks += (found["needs"] or found["time"]).replace(" ", "").split(",")
    return tuple(marks)
