"""`python -m benchmarks.gpu`: time and memory of pruned models of published shapes, on a GPU.

Weights are random and made on the device: nothing is downloaded. Exit codes are those of the
command line: 0, or 1 for an error and for a variant that failed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from transprune.cli.guard import quiet_libraries
from transprune.errors import PruneError
from transprune.models.checkpoint import choose_device
from transprune.speed.benchmark import Settings, run_benchmark
from transprune.speed.cells import Cell, plan
from transprune.speed.measure import Effort
from transprune.speed.records import Record, RecordFile
from transprune.speed.statement import statement
from transprune.speed.summary import rows, settings

from .tables import latency_table

SHAPES = {
    "full": ("llava-1.5-7b", "llava-next-7b", "qwen2.5-vl-7b"),
    "tiny": ("llava-1.5-tiny", "llava-next-tiny", "qwen2.5-vl-tiny"),
}
BATCHES = {"full": (1, 8, 32), "tiny": (1, 2)}
EFFORTS = {
    "full": Effort(),
    "tiny": Effort(lengths=(1, 2, 4), prefill_rounds=2, answer_rounds=2),
}
DTYPES = {"full": torch.bfloat16, "tiny": torch.float32}

WIDTH = 200  # characters of the widest table
NO_GPU = (
    "this benchmark needs a CUDA device, and torch finds none; run it on a machine with one, or in "
    "miniature with --size tiny --device cpu"
)


def main(
    size: Annotated[str, typer.Option(help="full, or tiny: miniatures for a CPU")] = "full",
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    minutes: Annotated[float, typer.Option(min=0, help="for everything; cells may stay out")] = 8.0,
    seed: Annotated[int, typer.Option(help="of weights, prompts and orders")] = 0,
    out: Annotated[Path, typer.Option(help="JSON lines, added to: measured cells are kept")] = Path(
        "out/gpu.jsonl"
    ),
) -> None:
    """Time and peak memory of unpruned and pruned models, side by side."""
    start = time.monotonic()
    try:
        records = _measure(size, device, 60 * minutes, seed, out)
    except PruneError as error:
        Console(stderr=True).print(f"error: {error}", style="bold red", soft_wrap=True)
        raise typer.Exit(1) from error

    _show(records, out, time.monotonic() - start)
    if any(record.status == "failed" for record in records):
        raise typer.Exit(1)


def _measure(size: str, device: str, seconds: float, seed: int, out: Path) -> list[Record]:
    """Run the benchmark, with a line on stderr for each cell.

    Raises:
        PruneError: no such size or device.
    """
    if size not in SHAPES:
        raise PruneError(f"--size is one of {', '.join(SHAPES)}; got {size!r}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise PruneError(NO_GPU)

    console = Console(stderr=True)

    def on_cell(cell: Cell, records: list[Record]) -> None:
        measured = sum(record.status == "measured" for record in records)
        note = "" if measured == len(records) else f": {records[0].reason}"
        console.print(
            f"{cell.shape}, {cell.attention}, batch {cell.batch}, {cell.measure}: {measured} of "
            f"{len(records)} measured{note}",
            soft_wrap=True,
            highlight=False,
        )

    run = Settings(choose_device(device), DTYPES[size], seconds, seed, EFFORTS[size])
    with quiet_libraries(bars=False):
        return run_benchmark(plan(SHAPES[size], BATCHES[size]), run, RecordFile(out), on_cell)


def _show(records: list[Record], out: Path, seconds: float) -> None:
    """The tables, then the sentences, then where the figures come from."""
    # a table is never cut, also in a log file
    console = Console(highlight=False, soft_wrap=True, width=WIDTH)
    for setting in settings(records):
        table = rows(records, setting)
        if any(row.seconds for row in table):
            console.print(latency_table(setting, table))

    console.print("Where pruning pays, and where it does not", style="bold")
    for sentence in statement(records):
        console.print(f"- {sentence}", markup=False)

    provenance = records[0].provenance
    console.print(
        f"\n{provenance['card']}, driver {provenance['driver']}, torch "
        f"{provenance['versions']['torch']}, {provenance['dtype']}, seed {provenance['seed']}, "
        f"{seconds:.0f} s; one JSON line per figure in {out}",
        markup=False,
    )


if __name__ == "__main__":
    typer.run(main)
