"""What one forward through the language model knows; gone when the forward is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from transprune.core.layout import Layout
from transprune.trace import TraceStage

Recorded = dict[tuple[int, str], list[Tensor]]  # (1-based layer, module) -> per sample


@dataclass
class Pass:
    """One forward.

    Attributes:
        length: rows per sample that came in.
        batch: samples.
        prompt: the layout before anything was pruned.
        first: the cache was empty before this forward (or there is none).
        layout: what is still running; None where this forward prunes nothing (decode, text).
        pruned: some rows have gone, so the keywords of every further layer must be projected.
        depth: how many stages changed the rows; names the row set in memo keys.
        positions: position ids the model made, [1 or B, L].
        removed_before: long [B, length], positions that renumbering closes in front of each slot.
        removed_total: long [B], all of them.
        bias: float32 [B, length], what every later query adds to its logits of each slot's key; None where no key
            weighs more than another.
        embedded: rows that entered layer 0 and their layout, where a method reads them.
        asking: the rows that ask in the frozen layer that runs now; None in any other layer.
        entered: of the last frozen layer its number, the rows that came in, and their cos and sin.
        totals: (part, sample, image) -> visual tokens when that part first saw the pool.
        carries: part -> evidence per sample, over its real rows.
        taps: what hooks overheard for a later one.
        ready: (layer, module name) -> output of that module for the surviving rows, computed ahead by a stage.
        memo: projections shared by the layers of a stage.
        stages, transitions, changes, notes: the trace in the making.
        widths: boundary -> rows per sample from there on.
    """

    length: int
    batch: int
    layout: Layout | None
    prompt: Layout | None
    first: bool = True
    pruned: bool = False
    depth: int = 0
    positions: Tensor | None = None
    removed_before: Tensor | None = None
    removed_total: Tensor | None = None
    bias: Tensor | None = None
    embedded: tuple[Tensor, Layout] | None = None
    asking: Any = None
    entered: tuple[int, Tensor, tuple[Tensor, Tensor]] | None = None
    totals: dict[tuple[int, int, int], int] = field(default_factory=dict)
    carries: dict[int, list[Tensor]] = field(default_factory=dict)
    taps: dict[Any, Any] = field(default_factory=dict)
    ready: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)
    stages: list[TraceStage] = field(default_factory=list)
    transitions: Recorded = field(default_factory=dict)
    changes: Recorded = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Say something in the trace, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
