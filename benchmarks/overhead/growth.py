"""Growth: the share of the overhead with visual tokens and batch, over a control that scores nothing.

`random-high` cuts as much at the same boundaries as TransPrune-High, so its prefill is the work
that is left, and the ratio of the two is what scoring costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from transprune import Random, Session, TransPrune, prune
from transprune.bench.measure.memory import peak_bytes
from transprune.core.library import cache_of_output

from .model import AFTER, BEFORE, Shape, build_inputs, build_model, moderate, padded_share
from .rows import Row, count_row, time_row
from .runs import Inputs, prefill, pruned_prefill
from .timing import Contender, paired

# visual tokens of a batch -> paired rounds up to there: a round of the largest takes minutes
ROUNDS = {5_000: 9, 15_000: 5, 30_000: 3}

OVER_CONTROL = "prefill, transprune-high / random-high"


@dataclass(frozen=True)
class Cell:
    """One size of batch.

    Attributes:
        grid: patches along a side of a picture.
        pictures: of each sample.
        batch: samples.
        ragged: the samples' texts differ, the longest by a fifth of the visual tokens.
    """

    grid: int
    pictures: int = 1
    batch: int = 1
    ragged: bool = False

    @property
    def visual(self) -> int:
        """Visual tokens of a sample."""
        return self.pictures * self.grid**2

    @property
    def name(self) -> str:
        """Its name on the command line, such as `2916x8` or `2916x8r`."""
        return f"{self.visual}x{self.batch}{'r' if self.ragged else ''}"

    @property
    def texts(self) -> list[int]:
        """Text tokens behind the picture, per sample."""
        step = self.visual // 32 if self.ragged else 0
        return [AFTER + step * sample for sample in range(self.batch)]


def _cells() -> dict[str, Cell]:
    """By name, small ones first."""
    cells = []
    for grid in (16, 24, 54):  # 256, 576, 2916 visual tokens
        cells += [Cell(grid, batch=batch) for batch in (1, 4, 8)]
        cells.append(Cell(grid, batch=8, ragged=True))
    cells.append(Cell(64, pictures=2))  # 8192
    return {cell.name: cell for cell in cells}


CELLS = _cells()


def rounds_of(cell: Cell) -> int:
    """Paired rounds by default: fewer where one takes long."""
    total = cell.visual * cell.batch
    return next(rounds for largest, rounds in ROUNDS.items() if total <= largest)


def measure_cell(cell: Cell, rounds: int, shape: Shape | None = None) -> Iterator[Row]:
    """Prefill and peak memory of one cell, in bfloat16.

    Args:
        cell: the batch.
        rounds: paired rounds.
        shape: of the model; None: 16 layers of width 512.
    """
    shape = shape or moderate(cell.grid)
    model = build_model(shape, torch.bfloat16)
    pictures = [cell.pictures] * cell.batch
    inputs = build_inputs(shape, torch.bfloat16, cell.texts, pictures)
    high = prune(model, TransPrune.high())
    control = prune(model, Random.high())

    yield from _time_rows(model, inputs, cell, high, control, rounds)
    yield from _memory_rows(model, inputs, cell, high, control)
    if cell.ragged:
        yield _padding_row(model, inputs, cell, high)


def _time_rows(
    model: Any, inputs: Inputs, cell: Cell, high: Session, control: Session, rounds: int
) -> Iterator[Row]:
    group = {
        "unpruned": Contender(partial(prefill, model, inputs)),
        "high": Contender(partial(pruned_prefill, model, inputs, high)),
        "control": Contender(partial(pruned_prefill, model, inputs, control)),
    }
    times = paired([group], rounds)

    yield time_row(cell.name, OVER_CONTROL, times, "high", "control")
    yield time_row(cell.name, "prefill, transprune-high / unpruned", times, "high", "unpruned")
    yield time_row(cell.name, "prefill, random-high / unpruned", times, "control", "unpruned")


def _memory_rows(
    model: Any, inputs: Inputs, cell: Cell, high: Session, control: Session
) -> Iterator[Row]:
    unpruned = peak_bytes(partial(prefill, model, inputs)) / 2**20
    for name, session in (("transprune-high", high), ("random-high", control)):
        peak = peak_bytes(partial(pruned_prefill, model, inputs, session)) / 2**20
        what = f"peak memory, {name} / unpruned"
        yield count_row(cell.name, what, peak, unpruned, "MiB", limit=1.0)


def _padding_row(model: Any, inputs: Inputs, cell: Cell, high: Session) -> Row:
    """Fillers among the rows of a padded batch behind the last boundary, and before pruning."""
    output = pruned_prefill(model, inputs, high)
    rows = int(cache_of_output(output).layers[-1].keys.shape[2])

    lengths = [BEFORE + text + cell.visual for text in cell.texts]
    kept = high.trace.stages[-1].keep
    left = []
    for text, tokens in zip(cell.texts, kept, strict=True):
        left.append(BEFORE + text + len(tokens))

    fillers = 1 - sum(left) / (len(left) * rows)
    return count_row(
        cell.name,
        "share of fillers, last layer / unpruned",
        fillers,
        padded_share(lengths),
        "share",
    )
