"""Where the commands print: tables and lines for people on stdout, one JSON document for programs, notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]

RIGHT, WRONG = "✓", "✗"


def out() -> Console:
    """The console of results."""
    from rich.console import Console

    return Console(highlight=False)


def err() -> Console:
    """The console of errors and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(data: dict[str, Any]) -> None:
    """One JSON document, with the version that made it and the warnings on the way."""
    from transprune import __version__
    from transprune.cli.notes import told

    document = {"transprune": __version__, **data, "warnings": told()}
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def new_table(
    title: str, columns: Sequence[str], left: Sequence[str] = (), wrap: Sequence[str] = ()
) -> Table:
    """An empty table: numbers to the right, the columns in `left` to the left, only those in `wrap` may break lines."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in columns:
        side = "left" if name in left or name in wrap else "right"
        table.add_column(name, justify=side, no_wrap=name not in wrap, overflow="fold")  # type: ignore[arg-type]
    return table


def legend(entries: dict[str, str]) -> Table:
    """What the columns of a table mean: a term and its sentence, wrapped to the terminal."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    for term, sentence in entries.items():
        grid.add_row(Text(term), Text(sentence))
    return grid


def show(*things: Any) -> None:
    """Tables and lines, one below the other; text is printed as it stands."""
    console = out()
    for thing in things:
        if isinstance(thing, str):
            console.print(thing, markup=False)
        else:
            console.print(thing)


@contextmanager
def status(as_json: bool) -> Iterator[Any]:
    """A function that shows what is being done, on a terminal and for people only."""
    console = err()
    if as_json or not console.is_terminal:
        yield lambda step: None
        return
    with console.status("starting") as spinner:
        yield lambda step: spinner.update(step)


def percent(share: float, digits: int = 1) -> str:
    """`0.4096` -> `41.0%`; a whole is `100%`."""
    return "100%" if share == 1 else f"{100 * share:.{digits}f}%"


def duration(seconds: float | None) -> str:
    """`0.0213` -> `21.3 ms`, `2.13` -> `2.13 s`."""
    if seconds is None:
        return "-"
    return f"{_three_digits(seconds)} s" if seconds >= 1 else f"{_three_digits(1000 * seconds)} ms"


def scientific(count: float) -> str:
    """`3.8212e12` -> `3.82 T`, with the letters of the field."""
    for letter, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{_three_digits(count / size)} {letter}"
    return f"{count:.0f}"


def mebibytes(count: int) -> str:
    """Bytes as `288 MiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{_three_digits(count / size)} {unit}"
    return f"{_three_digits(count / 2**10)} KiB"


def with_share(amount: str, share: float, digits: int = 1) -> str:
    """`1.56 T 40.8%`, the shares of a column below each other."""
    return f"{amount} {percent(share, digits):>{digits + 4 if digits else 4}}"


def _three_digits(number: float) -> str:
    """`3.82`, `38.2`, `382`."""
    return (
        f"{number:.2f}"
        if number < 9.995
        else f"{number:.1f}"
        if number < 99.95
        else f"{number:.0f}"
    )
