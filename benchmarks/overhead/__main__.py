"""`python -m benchmarks.overhead`: what pruning costs besides the work it leaves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from transprune.cli.guard import quiet_libraries
from transprune.errors import BenchError, PruneError

from . import beside_reference, bundled, growth, host
from .kernels import measure_kernels
from .rows import Row, provenance, read_rows, write_row
from .settings import MINUTES, OUT, PARTS, QUICK_PARTS, USUAL, chosen_methods
from .tables import console_tables, reasons


@dataclass(frozen=True)
class Options:
    """What is measured: paired rounds (None: each part's own number), methods, dtypes, cells."""

    rounds: int | None
    methods: list[str]
    dtypes: list[str]
    cells: list[str]


def main(
    parts: Annotated[
        list[str] | None,
        typer.Argument(help="host, kernels, ratio, nano, growth; default all but growth"),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="paired rounds; default 30, of ratio 25, of growth 9 to 3"),
    ] = None,
    methods: Annotated[
        str, typer.Option(help="of ratio: names, comma-separated, or 'all'")
    ] = ",".join(USUAL),
    dtypes: Annotated[str, typer.Option(help="of ratio: comma-separated")] = "bfloat16,float32",
    cells: Annotated[
        str, typer.Option(help="of growth: visual tokens x batch, r for ragged")
    ] = ",".join(growth.CELLS),
    out: Annotated[Path, typer.Option(help="folder of JSON lines, appended to")] = OUT,
) -> None:
    """Measure host time, operations, the ratio to the cheapest run, and the bundled model.

    All but `growth` take a quarter of an hour, most of it `ratio`. `growth` takes half an hour and
    goes on where it was stopped, at the same commit.
    """
    # one thread: CPU time of several does not add up to anything comparable
    torch.set_num_threads(1)
    console = Console()

    try:
        options = Options(
            rounds,
            chosen_methods(methods),
            _checked("dtype", dtypes.split(","), beside_reference.DTYPES),
            _checked("cell", cells.split(","), growth.CELLS),
        )
        for part in _checked("part", parts or QUICK_PARTS, PARTS):
            if rounds is None:
                console.print(f"{part}: about {MINUTES[part]} min")
            with quiet_libraries(bars=False):
                rows = list(measure_part(part, options, out))
            _show(console, part, rows)
    except PruneError as error:
        console.print(f"[red]error:[/] {error}")
        sys.exit(1)

    console.print(f"one JSON line per row in {out}")


def _show(console: Console, part: str, rows: list[Row]) -> None:
    console.rule(part)
    for table in console_tables(rows):
        console.print(table)
    for reason in reasons(rows):
        console.print(f"- {reason}", markup=False, highlight=False)


def measure_part(part: str, options: Options, out: Path) -> Iterator[Row]:
    """The rows of one part, each written to `out/<part>.jsonl` as soon as it is there."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{part}.jsonl"

    if part == "growth":
        yield from _growth(options, file)
        return

    rounds = options.rounds
    rows: Iterator[Row]
    if part == "host":
        rounds = rounds or host.ROUNDS
        rows = host.measure_host(rounds)
    elif part == "kernels":
        rounds = 1  # counts do not vary
        rows = measure_kernels()
    elif part == "ratio":
        rounds = rounds or beside_reference.ROUNDS
        rows = beside_reference.measure_ratio(rounds, options.methods, options.dtypes)
    else:
        rounds = rounds or bundled.ROUNDS
        rows = bundled.measure_nano(rounds)

    source = provenance(part, rounds)
    for row in rows:
        write_row(file, row, source)
        yield row


def _growth(options: Options, file: Path) -> Iterator[Row]:
    """The chosen cells; those that the file has already, of this very code, are read from it."""
    for name in options.cells:
        cell = growth.CELLS[name]
        rounds = options.rounds or growth.rounds_of(cell)
        source = provenance("growth", rounds)

        done = [row for row, known in read_rows(file) if row.group == name and known == source]
        if done:
            yield from done
            continue

        # all at once: half a cell would pass for a whole one when the run goes on
        rows = list(growth.measure_cell(cell, rounds))
        for row in rows:
            write_row(file, row, source)
        yield from rows


def _checked(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names, if all are known.

    Raises:
        BenchError: one is not.
    """
    chosen = [name.strip() for name in names]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise BenchError(f"no {what} {', '.join(map(repr, unknown))}; known: {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    typer.run(main)
