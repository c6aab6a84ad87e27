"""The state of one forward through the language model. It lives as long as that forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout, gather_rows
from transprune.errors import SessionError
from transprune.runtime.record import Record
from transprune.runtime.renumbering import Renumbering
from transprune.runtime.stage_result import StageResult


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
        follows: earlier forwards left a pruned prefix in the cache.
        unpruned: why this forward prunes nothing; None where it has visual tokens.
        cache: the key/value cache, or None.
        repeats: no cache was wanted, so that `generate` runs the whole prompt for every token.
        positions: position ids [1 or B, length] that the decoder was given, or None.
        hooked: 0-based decoder layers whose hooks are to run, in order.
        hook_groups: hooks that are on the model until the pass ends.
        entered: how many of them have run.
        pruned: some rows have gone, so the arguments of every further layer must be projected.
        row_version: how many stages changed the rows.
        projections: arguments for the rows of a stage, shared by its layers; the newest first.
        renumbering: what pruning does to positions.
        numberings: the same as each boundary left it.
        key_bias: float32 [B, length], added by every later query to its logits of each slot's key;
            None where all keys count alike.
        query_rows: the rows that are computed in the frozen layer that runs now; None in any other
            layer.
        frozen_input: what entered the last frozen layer.
        totals: (part, sample, image) -> visual tokens when that part first met the pool.
        carries: part -> evidence of each running row, float32 [B, L].
        captured: what one hook captured for another, by keys of the tap that owns them.
        precomputed: (layer, module name) -> output of that module for the surviving rows.
        record: the trace in the making.
        cut: the decoder went on with its last rows only, because no later layer stores keys.
        capacities: entries that static buffers have in any case, by decoder layer, to be kept up;
            None where they are as long as needed.
    """

    length: int
    batch: int
    layout: Layout | None  # shrinks from stage to stage
    prompt: Layout | None  # stays
    is_prefill: bool = True
    follows: bool = False
    unpruned: str | None = None
    cache: Any = None
    repeats: bool = False
    positions: Tensor | None = None
    hooked: Sequence[int] = ()
    hook_groups: list[Any] = field(default_factory=list)
    entered: int = 0
    pruned: bool = False
    row_version: int = 0
    projections: list[Any] = field(default_factory=list)
    renumbering: Renumbering = field(default_factory=Renumbering)
    numberings: list[tuple[int, Renumbering]] = field(default_factory=list)
    key_bias: Tensor | None = None
    query_rows: Any = None
    frozen_input: FrozenInput | None = None
    totals: dict[tuple[int, int, int], int] = field(default_factory=dict)
    carries: dict[int, Tensor] = field(default_factory=dict)
    captured: dict[Any, Any] = field(default_factory=dict)
    precomputed: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    cut: bool = False
    capacities: dict[int, int] | None = None

    def of_rows(self, table: Tensor) -> Tensor:
        """Entries of a table [B or 1, length, D], one for each slot, for the rows that run now."""
        layout = self.layout
        assert layout is not None
        rows = gather_rows(table, layout.tokens) if self.pruned else table
        return rows if self.query_rows is None else gather_rows(rows, self.query_rows.index)

    def layout_at(self, index: int) -> Layout | None:
        """The rows that decoder layer `index` was given; None where this forward prunes nothing."""
        layout = self.prompt
        for stage in self.record.stages:
            if stage.boundary <= index:
                layout = stage.after
        return layout

    def enter_layer(self, index: int, rows: int, may_be_cut: bool = False) -> None:
        """Note that the hook in front of decoder layer `index` runs, with so many rows per sample.

        Args:
            index: 0-based decoder layer.
            rows: rows that arrive there.
            may_be_cut: the decoder may have gone on with its last rows only.

        Raises:
            SessionError: the hooks of layers in front of it did not, or did not have their effect.
        """
        if self.entered == len(self.hooked) or index != self.hooked[self.entered]:
            self._raise_not_hooked()

        expected = self.length if self.layout is None else self.layout.rows_total
        if may_be_cut and rows < expected:
            self.cut = True
        elif rows != expected:
            raise SessionError(
                f"{rows} rows arrive at decoder layer {index} where {expected} are left; a module "
                "in front of it changed them, so pruning cannot tell which they are"
            )

        self.entered += 1

    def check_all_layers_ran(self) -> None:
        """Check that every hook in front of a layer has run.

        Raises:
            SessionError: some did not, so their layers got rows and masks that do not fit.
        """
        if self.entered != len(self.hooked):
            self._raise_not_hooked()

    def _raise_not_hooked(self) -> None:
        layer = self.hooked[min(self.entered, len(self.hooked) - 1)]
        raise SessionError(
            f"decoder layer {layer} ran without the hooks of this session, or did not run; was it "
            "replaced, wrapped or skipped? Leave the session, and attach it again when the model "
            "is as it is to run."
        )

    def add_key_bias(self, before: Layout, result: StageResult) -> None:
        """Add the biases of a stage, which saw the rows of `before`, to the keys that stay."""
        if self.key_bias is None:
            self.key_bias = torch.zeros(
                self.batch, self.length, dtype=torch.float32, device=before.origin.device
            )
        else:
            self.key_bias = self.key_bias.clone()  # layers of earlier stages hold the old one

        for choice in result.choices:
            bias = choice.selection.key_bias
            if bias is not None:
                samples = choice.group.sample_index
                slots = before.origin[samples, choice.rows]
                self.key_bias[samples, slots] += bias.float()
