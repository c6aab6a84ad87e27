"""Arguments of a layer that reads the keys of another layer (Gemma 4 E2B, E4B).

Its rows are those that run now. Its columns are what the other layer stored, which may hold tokens
that were dropped behind that layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.layer_inputs.gather import gather_ids
from transprune.runtime.layer_inputs.masks import MaskProjection
from transprune.runtime.renumbering import Renumbering
from transprune.runtime.slots import Slots


def shared_inputs(state: Pass, call: LayerCall) -> dict[str, Any]:
    """New values, by name, for the rows that run and the keys that the other layer stored."""
    projection = _projection(state, call)
    given = call.kwargs.get("attention_mask")
    replaced: dict[str, Any] = {}

    # one row that sees every key needs no mask
    alone = call.hidden.shape[1] == 1 and given is None
    if not (alone and projection.dense and projection.bias is None):
        replaced["attention_mask"] = projection.apply(given, call.implementation, call.hidden.dtype)

    layout = state.layout
    tables = call.kwargs.get("position_embeddings")
    running = call.hidden.shape[1]
    if not state.pruned or layout is None:
        return replaced

    # a decoder that cut its rows has cut their tables too
    if tables is not None and running == layout.rows_total:
        # numbered as the keys were stored, also where a cut lies between both layers
        replaced["position_embeddings"] = _as_stored(state, call, layout).tables(
            tables, layout, call.hidden, call.kind.rotary, state.positions
        )

    ids = call.kwargs.get("position_ids")
    if ids is not None and ids.shape[-1] == state.length:
        replaced["position_ids"] = gather_ids(ids, projection.rows)

    return replaced


def _as_stored(state: Pass, call: LayerCall, layout: Layout) -> Renumbering:
    """How far the running rows had moved when the other layer stored its keys."""
    owner = call.kind.keys_of
    assert owner is not None
    then = Renumbering()
    for boundary, numbering in state.numberings:
        if boundary <= owner:
            then = numbering

    stored = state.layout_at(owner)
    shift = None if stored is None else then.of_rows(stored)
    if stored is None or shift is None:
        return Renumbering()

    by_slot = shift.new_zeros(len(shift), state.length).scatter(1, stored.origin, shift)
    return Renumbering(by_slot.gather(1, layout.origin))


def _projection(state: Pass, call: LayerCall) -> MaskProjection:
    """Rows: the last ones that run. Columns: what the other layer stored."""
    batch, running, _ = call.hidden.shape
    slots, length = _stored(state, call)
    device = call.hidden.device

    layout = state.layout if state.pruned else None
    if layout is None:
        rows = torch.arange(state.length, device=device).expand(batch, -1)
        real = None
    else:
        rows = layout.origin.to(device)
        real = None if layout.dense else layout.valid.to(device)

    given = call.kwargs.get("attention_mask")
    cut = 0
    if isinstance(given, Tensor) and given.ndim == 4:
        cut = state.length - given.shape[2]

    return MaskProjection(
        rows=rows[:, -running:],
        rows_real=None if real is None else real[:, -running:],
        columns=slots.slots,
        past=length - state.length,
        length=state.length,
        dense=slots.dense and real is None,
        bias=slots.bias,
        square=slots.slots.shape[1] == running,
        cut=cut,
    )


def _stored(state: Pass, call: LayerCall) -> tuple[Slots, int]:
    """The slots of the other layer's keys, and their number in unpruned coordinates."""
    batch, _, _ = call.hidden.shape
    device = call.hidden.device
    stored = call.stored
    if stored is not None:
        return stored.slots(batch, device), stored.logical

    owner = call.kind.keys_of
    assert owner is not None
    layout = state.layout_at(owner)
    if layout is not None and not layout.whole:  # no cache keeps the slots
        return _of_layout(layout), state.length

    # an untouched layer: its newest keys in order, of which a sliding window keeps some
    length = state.length
    if call.cache is not None and owner < len(call.cache.layers):
        length = int(call.cache.layers[owner].get_seq_length())

    every = torch.arange(length, device=device).expand(batch, -1)
    return Slots(every, True), length


def _of_layout(layout: Layout) -> Slots:
    if layout.dense:
        return Slots(layout.origin, True)
    return Slots(torch.where(layout.valid, layout.origin, -1), False)
