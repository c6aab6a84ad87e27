"""Run the speed benchmark: cell after cell in the order of the plan, until the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from transprune.models.memory import release_memory
from transprune.speed.cells import FLASH, UNPRUNED, Cell, variants
from transprune.speed.clocks import clock_of
from transprune.speed.measure import Effort, measure_cell, too_long, unmeasured
from transprune.speed.model import build_inputs, build_model
from transprune.speed.provenance import describe_run
from transprune.speed.records import Record, RecordFile
from transprune.speed.rounds import Failure, attempt
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
        # a run that was stopped goes on where it was
        if file.done(cell, variants(cell.shape), provenance):
            continue
        # what smaller cells took says whether this one fits into the time that is left
        once = at_least(cell, file.latest(provenance))
        records = _run_cell(cell, settings, built, once, left)
        records = [replace(record, provenance=provenance) for record in records]
        file.append(records)
        on_cell(cell, records)

    return [record for record in file.latest(provenance) if record.cell in cells]


def at_least(cell: Cell, records: Iterable[Record]) -> float:
    """Seconds that one unpruned run of a cell takes at least, from cells that are no larger; or 0."""
    known = [0.0]
    for record in records:
        alike = record.cell.build == cell.build and record.batch <= cell.batch
        # an answer begins with a prefill
        usable = record.status == "measured" and record.measure in ("prefill", cell.measure)
        if alike and usable and record.variant == UNPRUNED:
            known.append(min(max(times.values()) for times in record.seconds))

    return max(known)


def _run_cell(
    cell: Cell, settings: Settings, built: _Built, once: float, left: Callable[[], float]
) -> list[Record]:
    """Records of one cell, measured or not."""
    recipes = variants(cell.shape)
    missing = missing_attention(cell.attention, settings.device)
    if missing:
        return unmeasured(cell, recipes, "skipped", missing)

    # a model that is not in memory takes as long as the last one
    building = 0.0 if built.what == cell.build else built.seconds
    refusal = too_long(once, len(recipes), settings.effort, left() - building)
    if refusal:
        return unmeasured(cell, recipes, "not run", refusal)

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
