"""The plan of the speed benchmark: its cells, in order of their value.

A cell is one shape, attention implementation and batch, and one thing that is measured; all variants
run in it side by side. What a reader needs first comes first, because time may run out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from transprune.speed.shapes import find_shape

Measure = Literal["prefill", "answer"]

MEASURES: tuple[Measure, ...] = ("prefill", "answer")
UNPRUNED = "unpruned"
SDPA = "sdpa"
FLASH = "flash_attention_2"

# VisionZip's 192 of 576 tokens; other shapes keep the same share
KEEP = 192
SHARE = 0.3333


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        shape: name of the shape.
        attention: attention implementation.
        batch: prompts at once.
        measure: `"prefill"`, its time and peak memory, or `"answer"`, whole calls of `generate`.
    """

    shape: str
    attention: str
    batch: int
    measure: Measure

    @property
    def build(self) -> tuple[str, str]:
        """What a model is built for."""
        return self.shape, self.attention

    def to_dict(self) -> dict[str, str | int]:
        """JSON-ready mapping."""
        return asdict(self)


def variants(shape: str) -> dict[str, str | None]:
    """What is measured on a shape: the name in tables -> the recipe, None for the unpruned model."""
    keep = KEEP if find_shape(shape).prompt.visual_tokens == 576 else SHARE
    zip_ = f"visionzip:keep={keep}"

    return {
        UNPRUNED: None,
        "transprune-high": "transprune-high",
        "transprune-low": "transprune-low",
        "fastv": "fastv",
        "pdrop": "pdrop",
        "sparsevlm": "sparsevlm",
        "visionzip": zip_,
        "visionzip+transprune-low": f"{zip_}+transprune-low",
    }


def plan(
    shapes: Sequence[str], batches: Sequence[int], attentions: Sequence[str] = (SDPA, FLASH)
) -> list[Cell]:
    """All cells: one prompt at a time first, then small batches, other attention, larger batches.

    Args:
        shapes: names of shapes, in the order of interest.
        batches: batch sizes, ascending.
        attentions: attention implementations, the usual one first.
    """
    cells: list[Cell] = []
    for shape, attention, batch, measure in _by_value(shapes, batches, attentions):
        cell = Cell(shape, attention, batch, measure)
        if cell not in cells:
            cells.append(cell)
    return cells


def _by_value(
    shapes: Sequence[str], batches: Sequence[int], attentions: Sequence[str]
) -> Iterator[tuple[str, str, int, Measure]]:
    usual, single = attentions[0], batches[0]

    # the table of the paper, for every shape
    for shape in shapes:
        yield shape, usual, single, "prefill"
        yield shape, usual, single, "answer"

    # a small batch, then the other attention, then large batches: whatever is quicker comes first
    for shape in shapes:
        for batch in batches[:2]:
            yield shape, usual, batch, "prefill"
    for attention in attentions:
        for shape in shapes:
            yield shape, attention, single, "prefill"
    for measure in MEASURES:
        for attention in attentions:
            for batch in batches:
                for shape in shapes:
                    yield shape, attention, batch, measure
