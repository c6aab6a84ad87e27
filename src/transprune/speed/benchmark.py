"""Run the speed benchmark: cell after cell in the order of the plan, until the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from transprune.speed.cells import FLASH, Cell, variants
from transprune.speed.clocks import clock_of
from transprune.speed.measure import Effort, measure_cell, unmeasured
from transprune.speed.model import build_inputs, build_model
from transprune.speed.provenance import describe_run
from transprune.speed.records import Record, RecordFile
from transprune.speed.rounds import Failure, attempt, release_memory
from transprune.speed.runs import Bench
from transprune.speed.shapes import find_shape

OnCell = Callable[[Cell, list[Record]], None]


@dataclass(frozen=True)
class Settings:
    """How the benchmark runs.

    Attributes:
        device: where.
        dtype: of weights and pictures.
        seconds: for all cells together, building the models included.
        seed: of weights, prompts and orders.
        effort: how much is measured.
    """

    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16
    seconds: float = 480.0
    seed: int = 0
    effort: Effort = field(default_factory=Effort)


@dataclass
class _Built:
    """The model that is in memory, and how long the last one took to build."""

    what: tuple[str, str] | None = None
    model: Any = None
    seconds: float = 0.0


def run_benchmark(
    cells: Sequence[Cell],
    settings: Settings,
    file: RecordFile,
    on_cell: OnCell = lambda cell, records: None,
) -> list[Record]:
    """Measure the cells that the file does not have yet.

    Args:
        cells: in the order in which they are measured.
        settings: how.
        file: gets the records of a cell as soon as it ends.
        on_cell: called then, too.

    Returns:
        The newest record of every variant of these cells.

    Raises:
        RecordError: the file cannot be written.
    """
    start = time.monotonic()
    provenance = describe_run(settings.device, settings.dtype, settings.seed)
    built = _Built()

    def left() -> float:
        return settings.seconds - (time.monotonic() - start)

    for cell in cells:
        if file.done(cell, variants(cell.shape), provenance):
            continue
        records = _run_cell(cell, settings, built, left)
        records = [replace(record, provenance=provenance) for record in records]
        file.append(records)
        on_cell(cell, records)

    return [record for record in file.latest(provenance) if record.cell in cells]


def _run_cell(
    cell: Cell, settings: Settings, built: _Built, left: Callable[[], float]
) -> list[Record]:
    """Records of one cell, measured or not."""
    recipes = variants(cell.shape)
    missing = missing_attention(cell.attention, settings.device)
    if missing:
        return unmeasured(cell, recipes, "skipped", missing)
    if left() <= built.seconds:
        return unmeasured(cell, recipes, "not run", "no time was left")

    bench = attempt(lambda: _bench(cell, settings, built))
    if isinstance(bench, Failure):
        # whatever was built is not to be trusted, and its memory is needed
        built.what, built.model = None, None
        release_memory()
        return unmeasured(cell, recipes, bench.kind, bench.reason)

    return measure_cell(cell, recipes, bench, settings.effort, left, settings.seed)


def _bench(cell: Cell, settings: Settings, built: _Built) -> Bench:
    """Model and inputs of a cell; the model stays for the next one."""
    shape = find_shape(cell.shape)
    if built.what != cell.build:
        # two models of 14 GB would not fit beside each other on every card
        built.what, built.model = None, None
        release_memory()

        start = time.monotonic()
        built.model = build_model(
            shape, settings.device, settings.dtype, cell.attention, settings.seed
        )
        built.what = cell.build
        built.seconds = time.monotonic() - start

    inputs = build_inputs(shape, cell.batch, 1, settings.device, settings.dtype, settings.seed)
    return Bench(built.model, inputs, clock_of(settings.device))


def missing_attention(attention: str, device: torch.device | str) -> str:
    """Why an attention implementation cannot run on a device; empty if it can."""
    if attention != FLASH:
        return ""
    if torch.device(device).type != "cuda":
        return "FlashAttention needs a CUDA device"

    from transformers.utils import is_flash_attn_2_available

    if is_flash_attn_2_available():
        return ""
    return "the package flash-attn is not installed (pip install flash-attn)"
