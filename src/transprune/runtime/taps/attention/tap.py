"""Read attention at a boundary, and compute nothing twice that was computed for it.

A method that reads the layer *behind* its boundary needs that layer's normalised input and keys for
every token, before the layer runs on the survivors only. The survivors' rows of both are kept for
the layer: its own modules are then given no row at all. A method that reads the layer *in front*
gets what that layer projected anyway.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import gather_rows
from transprune.core.plan import Reading
from transprune.errors import PruneWarning
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall, history_of
from transprune.runtime.layer_inputs.project import project_mask, projected
from transprune.runtime.pools import PoolGroup, PoolRows
from transprune.runtime.taps.attention.pool import GroupAttention, PoolAttention
from transprune.runtime.taps.attention.ran import RanLayer
from transprune.runtime.taps.attention.rows import (
    AheadProjections,
    AttentionRows,
    RawProjections,
)
from transprune.runtime.taps.base import Pruning, Setup, Signals, Tap

SIGNAL = "attention"
NORM, KEYS = "norm", "k_proj"  # modules of a layer whose output was computed ahead
NO_INSTRUCTION = "no instruction after the image; the last token of the prompt stands in for it"


@dataclass
class AttentionSignal:
    """Attention rows at one boundary, for any pool.

    Attributes:
        rows: attention of the layer that is read.
        ahead: what was projected for the layer behind the boundary; None if the layer in front is
            read.
    """

    rows: AttentionRows
    ahead: AheadProjections | None

    def __call__(self, pool: PoolRows | PoolGroup) -> PoolAttention | GroupAttention:
        """Attention from and to one pool, or several."""
        if isinstance(pool, PoolGroup):
            return GroupAttention(pool, self.rows)
        return PoolAttention(pool, self.rows)


class AttentionTap(Tap):
    """Offers attention rows at the boundaries whose readings announce them."""

    def __init__(self, setup: Setup, readings: dict[int, Reading]) -> None:
        self._layers = setup.layers
        self._kinds = setup.kinds
        self._frozen = frozenset(setup.method.frozen(setup.depth))
        self._readings = readings
        # boundary -> the layer in front of it, which has run
        self._ran = {
            boundary: RanLayer(setup.layers, setup.kinds, boundary - 1, SIGNAL)
            for boundary, reading in readings.items()
            if reading.source == "previous"
        }

    @classmethod
    def needed(cls, setup: Setup) -> AttentionTap | None:
        """If some reading announces rows."""
        readings = {at: reading for at, reading in setup.readings.items() if reading.rows}
        return cls(setup, readings) if readings else None

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks in front of or behind each boundary."""
        for boundary, reading in self._readings.items():
            if reading.source == "previous":
                self._ran[boundary].attach(hooks)
            else:
                self._attach_next(hooks, boundary)

    def _attach_next(self, hooks: Hooks, boundary: int) -> None:
        """Let layer `boundary` use what was computed ahead instead of computing it again."""

        def feed_no_rows(key: Any, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            state = hooks.running()
            if state is None or key not in state.precomputed:
                return None
            return (args[0][:, :0],), kwargs  # [B, P, D] -> [B, 0, D]

        # the output of the hook replaces that of the module
        def return_precomputed(key: Any, module: nn.Module, args: Any, output: Tensor) -> Any:
            state = hooks.running()
            return None if state is None else state.precomputed.pop(key, None)

        kind = self._kinds[boundary]
        key_projection = getattr(kind.mixer, "k_proj", None)
        for name, module in ((NORM, kind.norm), (KEYS, key_projection)):
            # a family says Identity where nothing normalises rows in front of attention
            if module is not None and not isinstance(module, nn.Identity):
                hooks.pruning.before(module, partial(feed_no_rows, (boundary, name)))
                hooks.pruning.after(module, partial(return_precomputed, (boundary, name)))

    def begin(self, state: Pass) -> None:
        """Warn where the instruction is read and a prompt ends with its image."""
        reads_instruction = any(r.rows in ("instruction", "all") for r in self._readings.values())
        assert state.layout is not None
        if reads_instruction and any(state.layout.prompt.ends_with_image):
            state.record.note(NO_INSTRUCTION)
            warnings.warn(NO_INSTRUCTION, PruneWarning, stacklevel=2)

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Attention over the rows that arrive at a boundary."""
        reading = self._readings.get(call.index)
        if reading is None:
            return
        if reading.source == "previous":
            signals[SIGNAL] = AttentionSignal(self._rows_of_previous(state, call), None)
            return

        # the layer has not run: its arguments are projected for the rows that arrive
        embeddings = call.kwargs["position_embeddings"]
        if state.pruned:
            embeddings = projected(state, call).replaced["position_embeddings"]

        ahead = AheadProjections(call.kind, call.hidden)
        mask = call.kwargs.get("attention_mask")
        rows = self._rows(state, call, call.index, ahead, embeddings, mask)
        signals[SIGNAL] = AttentionSignal(rows, ahead)

    def prune(self, state: Pass, pruning: Pruning) -> None:
        """Keep the surviving rows of what was computed ahead, for the layer that runs now."""
        signal = pruning.signals.get(SIGNAL)
        if not isinstance(signal, AttentionSignal) or signal.ahead is None:
            return
        if pruning.result.merges or pruning.call.index in self._frozen:
            return  # the layer gets other rows than those that were projected
        store_survivors(state, pruning.call, signal.ahead, pruning.index)

    def _rows_of_previous(self, state: Pass, call: LayerCall) -> AttentionRows:
        ran = self._ran[call.index].take(state)
        return self._rows(state, call, call.index - 1, ran.projections, ran.embeddings, ran.mask)

    def _rows(
        self,
        state: Pass,
        call: LayerCall,
        index: int,
        projections: RawProjections,
        embeddings: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> AttentionRows:
        kind = self._kinds[index]
        layout = state.layout
        assert layout is not None
        # the layer that is read, with the rows and the arguments of this boundary
        there = LayerCall(index, self._layers[index], kind, call.hidden, call.kwargs)
        stored_already = index < call.index
        history = history_of(state, there, stored_already)
        keys = history.keys
        if keys is not None and not stored_already:
            keys = state.renumbering.moved_keys(keys, kind.rotary, kind.rotation)

        plain = history.slots is None or history.slots.plain
        return AttentionRows(
            kind,
            projections,
            embeddings,
            partial(project_mask, state, there, history),
            mask,
            keys,
            causal=mask is None and plain and layout.dense and state.key_bias is None,
        )


def store_survivors(state: Pass, call: LayerCall, ahead: AheadProjections, index: Tensor) -> None:
    """Keep the rows `index` [B, P] of what was computed ahead, for the layer's own modules."""
    if torch.is_grad_enabled():
        return  # a checkpointed layer runs again later and must compute the same shapes then

    state.precomputed[call.index, NORM] = gather_rows(ahead.normalised, index)
    if type(call.kind.mixer.k_proj) is nn.Linear:
        # LoRA or quantised layers may refuse an input of zero rows
        state.precomputed[call.index, KEYS] = gather_rows(ahead.keys(), index)
