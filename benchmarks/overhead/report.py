"""`python -m benchmarks.overhead.report`: what was measured, as Markdown and as a picture.

Of rows that were measured several times the last one counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .figure import draw
from .rows import Row, read_rows
from .settings import OUT, PARTS
from .tables import markdown_table


def main(
    out: Annotated[Path, typer.Option(help="folder of the JSON lines")] = OUT,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw as well")] = None,
) -> None:
    """Print the tables of all parts that were measured."""
    measured = {part: latest(out / f"{part}.jsonl") for part in PARTS}

    for part, (rows, sources) in measured.items():
        if rows:
            print(f"### {part}\n\n{origin(sources)}\n\n{markdown_table(rows)}\n")

    if picture is not None:
        draw({part: rows for part, (rows, _) in measured.items()}, picture)
        print(f"drawn: {picture}")


def latest(file: Path) -> tuple[list[Row], list[dict[str, Any]]]:
    """The last row of each name, in the order of first appearance, and where these come from."""
    found: dict[tuple[str, str], tuple[Row, dict[str, Any]]] = {}
    for row, source in read_rows(file):
        found[row.group, row.what] = (row, source)

    rows = [row for row, _ in found.values()]
    sources = []
    for _, source in found.values():
        if source not in sources:
            sources.append(source)
    return rows, sources


def origin(sources: list[dict[str, Any]]) -> str:
    """One line on rounds, commit and versions for each run that rows come from."""
    lines = []
    for source in sources:
        versions = ", ".join(f"{name} {number}" for name, number in source["versions"].items())
        lines.append(f"{source['rounds']} rounds at commit {source['commit']}; {versions}.")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
