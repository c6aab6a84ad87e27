"""The state of one forward through the language model. It lives as long as that forward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.errors import SessionError
from transprune.trace import TraceStage

Recorded = dict[tuple[int, str], list[Tensor]]  # (1-based layer, module) -> per sample


@dataclass
class Record:
    """The trace in the making.

    Attributes:
        stages: one entry per boundary that was reached.
        widths: boundary -> rows per sample from there on.
        transitions: token transition variation of the observed modules, if it is recorded.
        changes: magnitude and cosine of every module, if they are recorded.
        notes: sentences a reader should know.
    """

    stages: list[TraceStage] = field(default_factory=list)
    widths: dict[int, int] = field(default_factory=dict)
    transitions: Recorded = field(default_factory=dict)
    changes: Recorded = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Add a sentence to the trace, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


@dataclass
class Renumbering:
    """Positions that are closed up because the tokens that had them are gone.

    Attributes:
        positions: position ids the model made, long [1 or B, L]; None until its rotary module ran.
        before_slot: long [B, L], removed positions in front of each slot; None if nothing was
            removed.
        total: long [B], all removed positions.
    """

    positions: Tensor | None = None
    before_slot: Tensor | None = None
    total: Tensor | None = None

    def remove(self, layout: Layout, dropped: list[Tensor], length: int) -> None:
        """Close the positions of the rows `dropped[sample]` of `layout`."""
        # by slot of the prompt: rows of different stages have different numbers
        gone = torch.zeros(layout.batch, length, dtype=torch.long, device=layout.origin.device)
        for sample, rows in enumerate(dropped):
            gone[sample, layout.origin[sample, rows]] = 1

        # exclusive sums: a slot counts what was removed in front of it, not itself
        before_slot = gone.cumsum(dim=1) - gone
        total = gone.sum(dim=1)

        # several stages of one forward add up
        if self.before_slot is not None and self.total is not None:
            before_slot = before_slot + self.before_slot
            total = total + self.total

        self.before_slot = before_slot
        self.total = total


@dataclass(frozen=True)
class FrozenInput:
    """What entered a frozen layer.

    Attributes:
        index: 0-based decoder layer.
        hidden: [B, L, D], all rows.
        position_embeddings: cos and sin of all rows, [1 or B, L, d] each.
    """

    index: int
    hidden: Tensor
    position_embeddings: tuple[Tensor, Tensor]


@dataclass
class Pass:
    """One forward.

    Attributes:
        length: rows per sample that came in.
        batch: samples.
        prompt: the layout before anything was pruned; None where this forward prunes nothing.
        layout: the rows that are still running; None where this forward prunes nothing.
        is_prefill: the cache was empty before this forward, or there is none.
        unpruned: why this forward prunes nothing; None where it has visual tokens.
        cache: the key/value cache, or None.
        repeats: no cache was wanted, so that `generate` runs the whole prompt for every token.
        next_layer: 0-based decoder layer whose hook is to run next.
        pruned: some rows have gone, so the arguments of every further layer must be projected.
        row_version: how many stages changed the rows; part of the keys of `memo`.
        renumbering: what pruning does to positions.
        key_bias: float32 [B, length], added by every later query to its logits of each slot's key;
            None where all keys count alike.
        query_rows: the rows that are computed in the frozen layer that runs now; None in any other
            layer.
        frozen_input: what entered the last frozen layer.
        totals: (part, sample, image) -> visual tokens when that part first met the pool.
        carries: part -> evidence per sample, over its real rows.
        captured: what one hook captured for another, by keys of the tap that owns them.
        precomputed: (layer, module name) -> output of that module for the surviving rows.
        memo: projections shared by the layers of a stage.
        record: the trace in the making.
    """

    length: int
    batch: int
    layout: Layout | None  # shrinks from stage to stage
    prompt: Layout | None  # stays
    is_prefill: bool = True
    unpruned: str | None = None
    cache: Any = None
    repeats: bool = False
    next_layer: int = 0
    pruned: bool = False
    row_version: int = 0
    renumbering: Renumbering = field(default_factory=Renumbering)
    key_bias: Tensor | None = None
    query_rows: Any = None
    frozen_input: FrozenInput | None = None
    totals: dict[tuple[int, int, int], int] = field(default_factory=dict)
    carries: dict[int, list[Tensor]] = field(default_factory=dict)
    captured: dict[Any, Any] = field(default_factory=dict)
    precomputed: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)
    record: Record = field(default_factory=Record)

    def enter_layer(self, index: int, rows: int) -> None:
        """Note that the hook in front of decoder layer `index` runs, with so many rows per sample.

        Raises:
            SessionError: the hooks of layers in front of it did not, or did not have their effect.
        """
        if index != self.next_layer:
            self._raise_not_hooked(self.next_layer)

        expected = self.length if self.layout is None else self.layout.rows_total
        if rows != expected:
            raise SessionError(
                f"{rows} rows arrive at decoder layer {index} where {expected} are left; a module "
                "in front of it changed them, so pruning cannot tell which they are"
            )
        self.next_layer += 1

    def check_all_layers_ran(self, layers: int) -> None:
        """Check that every hook in front of a layer has run.

        Raises:
            SessionError: some did not, so their layers got rows and masks that do not fit.
        """
        if self.next_layer != layers:
            self._raise_not_hooked(self.next_layer)

    def _raise_not_hooked(self, layer: int) -> None:
        raise SessionError(
            f"decoder layer {layer} ran without the hooks of this session, or did not run; was it "
            "replaced, wrapped or skipped? Leave the session, and attach it again when the model "
            "is as it is to run."
        )

    def add_key_bias(self, biases: list[Tensor | None]) -> None:
        """Add `biases[sample]` [k] to the keys of the visual rows that stay, in their order."""
        layout = self.layout
        assert layout is not None

        if self.key_bias is None:
            self.key_bias = torch.zeros(
                self.batch, self.length, dtype=torch.float32, device=layout.origin.device
            )
        else:
            self.key_bias = self.key_bias.clone()  # layers of earlier stages hold the old one

        for sample, bias in enumerate(biases):
            if bias is not None:
                slots = layout.origin[sample, layout.visual_rows(sample)]
                self.key_bias[sample, slots] += bias
