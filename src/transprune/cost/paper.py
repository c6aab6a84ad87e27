"""The cost columns of the TransPrune paper, recomputed.

Li et al., CVPR 2026, https://arxiv.org/abs/2507.20630. Every figure is stored as it is printed
(`transprune.cost.paper_rows`), beside the schedule that should produce it. Most come out to the
last printed digit in the `paper` convention; the others are shown as they are, with the reason.
There are
three kinds of rows:

- a schedule, counted (`T`) or as its linear share of token-layers (`%`, the Qwen2.5-VL rows);
- a product: the row prints another paper's percentage times the unpruned figure, no schedule stands
  behind it;
- unpublished: no schedule is known for it, so it cannot be computed.

Groups are named by table number where we know it; the Qwen2.5-VL and Video-LLaVA rows by their
model.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from transprune.core.plan import Stage, per_layer
from transprune.core.schedule import count_kept
from transprune.cost.geometry import Geometry, known_geometry
from transprune.cost.layers import prefill_cost
from transprune.cost.paper_rows import TABLES, Figure, Keep, Table, Unit

Verdict = Literal["matches", "differs", "not computable"]


@dataclass(frozen=True)
class PaperRow:
    """One published figure and ours.

    Attributes:
        table: number of the paper's table, or the model where the number is not known.
        model: name of a `Geometry`.
        method: method as the table calls it.
        tokens: visual tokens that enter the language model.
        keep: (boundary, share of `tokens`) pairs, empty when nothing is pruned inside; None without
            a schedule.
        schedule: the same as layers x tokens, or the text that stands in its place.
        ours: the figure we compute, unrounded; None if there is nothing to compute.
        published: the figure as printed, with all its decimals.
        unit: `"T"` (tera MACs) or `"%"`.
        verdict: `"matches"` when ours rounds to the printed digits.
        note: anything a reader should know; always there unless a plain schedule matches.
    """

    table: str
    model: str
    method: str
    tokens: int
    keep: Keep | None
    schedule: str
    ours: float | None
    published: str
    unit: Unit
    verdict: Verdict
    note: str = ""

    @property
    def decimals(self) -> int:
        """Digits printed after the point."""
        return _decimals(self.published)


def paper_table() -> tuple[PaperRow, ...]:
    """Every cost figure we know of Tables 1-5 and 9, table by table."""
    rows = []
    for table in TABLES:
        for figure in table.figures:
            rows.append(_row(table, figure))

    return tuple(rows)


def _row(table: Table, figure: Figure) -> PaperRow:
    """The row of one printed figure."""
    geometry = known_geometry(table.model)
    tokens = geometry.visual_tokens if figure.tokens is None else figure.tokens
    ours: float | None
    note = figure.note

    if figure.keep is not None:
        visual = _tokens_per_layer(geometry, tokens, figure.keep)
        # an empty schedule is a row without pruning inside the language model
        schedule = _layers_text(visual)
        ours = _count(geometry, tokens, visual, table.unit)
    elif figure.percent is not None:
        # of the figure as printed, not of ours: the paper multiplied rounded numbers
        unpruned = table.figures[0].printed
        schedule = f"{figure.percent}% x {unpruned}"
        ours = figure.percent * float(unpruned) / 100
        reason = "a published percentage times the unpruned figure, no schedule"
        note = f"{reason}; {note}" if note else reason
    else:
        schedule = "unpublished"
        ours = None

    return PaperRow(
        table=table.number,
        model=geometry.name,
        method=figure.method,
        tokens=tokens,
        keep=figure.keep,
        schedule=schedule,
        ours=ours,
        published=figure.printed,
        unit=table.unit,
        verdict=_verdict(ours, figure.printed),
        note=note,
    )


def _tokens_per_layer(geometry: Geometry, tokens: int, keep: Keep) -> tuple[int, ...]:
    """Visual tokens that enter each layer under a schedule."""
    stages = tuple(Stage(boundary, count_kept(tokens, ratio)) for boundary, ratio in keep)
    return per_layer(geometry.layers, tokens, stages)


def _layers_text(visual: tuple[int, ...]) -> str:
    """`7x576, 2x504, ...`: how many layers run on how many visual tokens."""
    runs = []
    for count, layers in groupby(visual):
        runs.append(f"{len(list(layers))}x{count}")

    return ", ".join(runs)


def _count(geometry: Geometry, tokens: int, visual: tuple[int, ...], unit: Unit) -> float:
    """Tera MACs of the prefill, or the percentage of token-layers that is left."""
    if unit == "T":
        return prefill_cost(geometry, visual, "paper") / 1e12

    # linear in tokens: the n^2 term of attention is left out, as in the Qwen2.5-VL rows
    return 100 * sum(visual) / (tokens * geometry.layers)


def _verdict(ours: float | None, published: str) -> Verdict:
    """Whether `ours` prints as `published` does, digit for digit."""
    if ours is None:
        return "not computable"

    printed = f"{ours:.{_decimals(published)}f}"
    return "matches" if printed == published else "differs"


def _decimals(published: str) -> int:
    """Digits after the point of a printed figure."""
    return len(published.partition(".")[2])
