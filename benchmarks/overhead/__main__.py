"""`python -m benchmarks.overhead`: what pruning costs besides the work it leaves, what it saves."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Annotated

import torch
import transformers
import typer
from rich.console import Console
from rich.table import Table

import transprune

from .measure import Row, measure
from .model import build_inputs, build_model
from .settings import METHODS, WHY


def main(
    methods: Annotated[str, typer.Option(help="comma-separated names")] = ",".join(METHODS),
    dtypes: Annotated[str, typer.Option(help="comma-separated torch dtypes")] = "float32,bfloat16",
    rounds: Annotated[
        int, typer.Option(help="paired rounds, at least 7 for figures that are reported")
    ] = 9,
    out: Annotated[Path, typer.Option(help="JSON lines file, appended to")] = Path(
        "out/overhead.jsonl"
    ),
) -> None:
    """Compare prefill time with the reference, and decoding and memory with the unpruned model.

    The reference is the cheapest run that keeps as many tokens at the same layers.
    """
    # one thread: CPU time of several does not add up to anything comparable
    torch.set_num_threads(1)
    out.parent.mkdir(parents=True, exist_ok=True)
    console = Console()

    with out.open("a") as file:
        for name in dtypes.split(","):
            dtype = getattr(torch, name)
            model = build_model(dtype)
            inputs = build_inputs(dtype)

            rows = list(measure(model, inputs, methods.split(","), rounds))
            for row in rows:
                file.write(json.dumps({**provenance(name, rounds), **row}) + "\n")
            console.print(table(name, rounds, rows))

            # before the next one is built, or both would be in memory
            del model

    console.print(f"one JSON line per row in {out}")


def provenance(dtype: str, rounds: int) -> Row:
    """Versions and settings behind a figure."""
    return {
        "transprune": transprune.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": 1,
        "dtype": dtype,
        "rounds": rounds,
        "seed": 0,
    }


def table(dtype: str, rounds: int, rows: list[Row]) -> Table:
    """The rows for reading, with a reason under the table for each limit that is exceeded."""
    result = Table(title=f"{dtype}, one thread, median of {rounds} paired rounds")
    result.add_column("ratio of CPU time")
    for column in ("median", "min", "max", "aim", ""):
        result.add_column(column, justify="right")

    reasons = []
    for row in rows:
        result.add_row(*_cells(row))
        name = row["what"].split(":")[0]
        if _exceeds(row) and name in WHY:
            reasons.append(f"{name} {WHY[name]}")

    result.caption = "; ".join(reasons)
    return result


def _cells(row: Row) -> list[str]:
    # memory is measured once, so it has no spread
    figures = [f"{row[key]:.3f}" if key in row else "" for key in ("median", "min", "max")]

    limit = row.get("limit")
    if limit is None:
        return [row["what"], *figures, "", ""]
    verdict = "above" if _exceeds(row) else "ok"
    return [row["what"], *figures, f"<= {limit:.2f}", verdict]


def _exceeds(row: Row) -> bool:
    limit = row.get("limit")
    return limit is not None and row["median"] > limit


if __name__ == "__main__":
    typer.run(main)
