"""The layer door: turn the keywords a decoder layer was given, in unpruned coordinates, into those of its own rows.

Rows are the tokens that are still running, columns the keys this layer stores. Masks, cos/sin and position ids are
taken from what was given; only renumbered positions are computed anew, by the model's own rotary module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transprune.layout import gather_rows
from transprune.runtime.cache import KeptLayer, Slots, install, kept_layer
from transprune.runtime.masks import Projection, is_flash
from transprune.runtime.state import Pass


@dataclass(frozen=True)
class LayerCall:
    """One call of a decoder layer, as the hook received it."""

    index: int
    layer: Any
    hidden: Tensor
    kwargs: dict[str, Any]

    @property
    def cache(self) -> Any:
        """The cache object, or None."""
        return self.kwargs.get("past_key_values")

    @property
    def stored(self) -> KeptLayer | None:
        """This layer's pruned cache entry, if it has one."""
        return kept_layer(self.cache, self.index)

    @property
    def implementation(self) -> str:
        """Attention implementation of the layer."""
        return str(self.layer.self_attn.config._attn_implementation)


def nothing_to_do(state: Pass, call: LayerCall) -> bool:
    """The decode fast path: unpruned rows that meet a history the given keywords already fit."""
    if state.pruned:
        return False
    stored = call.stored
    if stored is None or stored.prefix is None:
        return True
    return call.kwargs.get("attention_mask") is None and stored.prefix.dense and stored.prefix.shift is None


def pass_through(state: Pass, call: LayerCall, rotary: nn.Module | None) -> dict[str, Any]:
    """The keywords for the rows that run; announces to the cache what is about to be stored."""
    if state.pruned and call.cache is not None:
        install(call.cache, call.index)
    stored = call.stored
    history = None if stored is None else stored.prefix
    mask = call.kwargs.get("attention_mask")
    # layers of one stage share one history object, so one projection per stage serves them all; the key holds its
    # objects (ids alone could be recycled)
    key = (state.depth, mask if mask is None else id(mask), id(history), stored and (stored.logical, stored.tail))
    if key not in state.memo:
        state.memo[key] = (_project(state, call, stored, mask), mask, history)
    projected: _Projected = state.memo[key][0]
    if state.pruned and stored is not None:
        stored.announce(projected.slots, state.length)
    new = dict(call.kwargs, attention_mask=projected.mask)
    if projected.shift is not None and rotary is not None:
        new["position_embeddings"] = _renumber(state, call, rotary, projected, key)
    elif state.pruned and call.kwargs.get("position_embeddings") is not None:
        new["position_embeddings"] = _gather_embeddings(state, call, key)
    if state.pruned and call.kwargs.get("position_ids") is not None:
        new["position_ids"] = _position_ids(state, call, key)
    return new


@dataclass(frozen=True)
class History:
    """What a layer stored before this forward: logical slot of every entry [B, h], and its length in slots."""

    slots: Tensor
    length: int
    dense: bool
    keys: Tensor | None


def history_of(state: Pass, call: LayerCall, stored_already: bool = False) -> History:
    """Entries of earlier forwards; with `stored_already` the layer has run, and this forward's entries are cut off."""
    batch, running, device = *call.hidden.shape[:2], call.hidden.device
    layer = None if call.cache is None or call.index >= len(call.cache.layers) else call.cache.layers[call.index]
    if layer is None or not layer.is_initialized or layer.get_seq_length() == 0:
        return History(torch.empty(batch, 0, dtype=torch.long, device=device), 0, True, None)
    length, entries = int(layer.get_seq_length()), layer.keys.shape[-2]
    if isinstance(layer, KeptLayer):
        slots, dense = layer.slots(batch, device), layer.prefix is None or layer.prefix.dense
    else:
        slots, dense = torch.arange(length - entries, length, device=device).expand(batch, -1), True
    past = max(0, entries - running) if stored_already else entries
    length -= state.length if stored_already else 0
    return History(slots[:, :past], length, dense, layer.keys[..., :past, :] if past else None)


def project_rows(state: Pass, call: LayerCall, history: History) -> Projection:
    """Rows and columns of the mask: the rows that run now, the entries of before and their own."""
    device = call.hidden.device
    if state.pruned:
        assert state.layout is not None
        rows, real, dense = state.layout.origin.to(device), state.layout.valid.to(device), state.layout.dense
    else:
        rows = torch.arange(state.length, device=device).expand(call.hidden.shape[0], -1)
        real, dense = torch.ones_like(rows, dtype=torch.bool), True
    columns = torch.cat([history.slots, torch.where(real, rows + history.length, -1)], dim=1)
    return Projection(rows, real, columns, history.length, state.length, dense and history.dense)


@dataclass(frozen=True)
class _Projected:
    mask: Tensor | None
    slots: Slots
    shift: Tensor | None  # long [B, P], what renumbering takes off the position of each row


def _project(state: Pass, call: LayerCall, stored: KeptLayer | None, mask: Tensor | None) -> _Projected:
    projection = project_rows(state, call, history_of(state, call))
    projected = projection.apply(mask, call.implementation, call.hidden.dtype)
    before = None if stored is None or stored.prefix is None else stored.prefix.shift
    removed = state.removed_total
    total = before if removed is None else removed if before is None else before + removed
    slots = Slots(projection.columns, total, projection.dense)
    shift = None if before is None else before[:, None].expand_as(projection.rows)
    if state.removed_before is not None:
        here = state.removed_before.gather(1, projection.rows)
        shift = here if shift is None else shift + here
    return _Projected(projected, slots, shift)


def _renumber(state: Pass, call: LayerCall, rotary: nn.Module, projected: _Projected, key: Any) -> tuple[Tensor, ...]:
    """cos and sin at contiguous positions: the given position minus what was removed in front of it."""
    memo = ("renumber", *key)
    if memo not in state.memo:
        assert state.positions is not None and projected.shift is not None
        positions = state.positions.expand(call.hidden.shape[0], -1)
        if state.pruned:
            assert state.layout is not None
            positions = positions.gather(1, state.layout.origin)
        # the module's forward, not the module: our own hook on it listens for the model's positions only
        state.memo[memo] = rotary.forward(call.hidden, positions - projected.shift)
    return state.memo[memo]


def _gather_embeddings(state: Pass, call: LayerCall, key: Any) -> tuple[Tensor, ...]:
    given = call.kwargs["position_embeddings"]
    memo = ("embeddings", id(given), *key)
    if memo not in state.memo:
        assert state.layout is not None
        state.memo[memo] = (tuple(gather_rows(table, state.layout.origin) for table in given), given)
    return state.memo[memo][0]


def _position_ids(state: Pass, call: LayerCall, key: Any) -> Tensor | None:
    # under flash attention gaps in the ids would be taken for packed sequences; cos and sin carry the true positions
    if is_flash(call.implementation):
        return None
    memo = ("ids", *key)
    if memo not in state.memo:
        assert state.layout is not None
        ids: Tensor = call.kwargs["position_ids"]
        state.memo[memo] = ids.expand(call.hidden.shape[0], -1).gather(1, state.layout.origin)
    return state.memo[memo]
