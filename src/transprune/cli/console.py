"""Print results on stdout (tables for people, or one JSON document) and notes on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transprune.cli import notes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

RIGHT = "✓"
WRONG = "✗"

# legend of the figures that compare answers with those of the unpruned model
AGREEMENT = {
    "KL": "divergence of the first answer tokens from the unpruned model, nats; 0 is equal",
    "same answers": "questions whose first answer tokens all stay the most likely ones",
}


def out() -> Console:
    """The console of results."""
    from rich.console import Console

    return Console(highlight=False)


def err() -> Console:
    """The console of errors, notes and progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON document, with the version of transprune and the warnings of this command.

    The JSON is strict: a number that is not finite becomes null.
    """
    from transprune import __version__
    from transprune.core import strict_json

    document = {"transprune": __version__, **data, "warnings": notes.all_notes()}
    sys.stdout.write(strict_json.write(document, indent=2) + "\n")


def show(*things: Any) -> None:
    """Print tables and lines, one below the other; text is printed without any markup."""
    console = out()
    for thing in things:
        if isinstance(thing, str):
            console.print(thing, markup=False)
        else:
            console.print(thing)


def new_table(
    title: str, columns: Sequence[str], left: Sequence[str] = (), wrap: Sequence[str] = ()
) -> Table:
    """An empty table.

    Args:
        title: printed above it.
        columns: the headings.
        left: columns that are aligned to the left; all others to the right, as numbers are.
        wrap: columns whose text may break into lines; these are aligned to the left as well.
    """
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
        may_wrap = name in wrap
        # fold: a word that is too long for its column goes on in the next line and is never cut
        table.add_column(
            name,
            justify="left" if may_wrap or name in left else "right",
            no_wrap=not may_wrap,
            overflow="fold",
        )

    return table


def legend(entries: dict[str, str]) -> Table:
    """Explain the columns of a table: a term and its sentence, wrapped to the terminal."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    for term, sentence in entries.items():
        grid.add_row(Text(term), Text(sentence))
    return grid


@contextmanager
def status(as_json: bool) -> Iterator[Callable[[str], None]]:
    """A function that shows the current step: beside a spinner on a terminal, else in a log.

    A log gets a line every half minute, so quick work leaves none.
    """
    from transprune.cli.progress import follow_in_lines

    console = err()
    # in a log file a spinner leaves nothing but control characters
    if as_json or not console.is_terminal:
        with follow_in_lines() as report:
            yield report
        return

    with console.status("starting") as spinner:
        yield lambda step: spinner.update(step)
