"""The layer door: turn the keywords a decoder layer was given, in unpruned coordinates, into those of its own rows.

Rows are the tokens that are still running, columns the keys this layer stores. Masks, cos/sin and position ids are
taken from what was given; only renumbered positions are computed anew, by the model's own rotary module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import gather_rows
from transprune.core.library import cache_of
from transprune.runtime.cache import KeptLayer, Slots, install, kept_layer
from transprune.runtime.forward_pass import Pass
from transprune.runtime.masks import Projection, is_flash

PROJECTED = ("attention_mask", "position_embeddings", "position_ids")


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
        return cache_of(self.kwargs)

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
    plain = stored.prefix.dense and stored.prefix.shift is None and stored.prefix.bias is None
    return call.kwargs.get("attention_mask") is None and plain


def pass_through(state: Pass, call: LayerCall, rotary: nn.Module | None) -> dict[str, Any]:
    """The keywords for the rows that run; announces to the cache what is about to be stored."""
    if state.pruned and call.cache is not None:
        install(call.cache, call.index)
    stored = call.stored
    history = None if stored is None else stored.prefix
    key = memo_key(state, call)
    if key not in state.memo:
        given = tuple(call.kwargs.get(name) for name in PROJECTED)
        state.memo[key] = (_project(state, call, rotary), history, given)
    door: _Door = state.memo[key][0]
    if state.pruned and stored is not None:
        stored.announce(door.slots, state.length)
    return {**call.kwargs, **door.keywords}


def memo_key(state: Pass, call: LayerCall) -> tuple[Any, ...]:
    """Names what a projection depends on.

    Layers of one stage share these objects, so one projection per stage serves them all; who keeps one in the memo
    holds on to them, because the id of an object that is gone could be another's.
    """
    stored = call.stored
    history = None if stored is None else stored.prefix
    given = (call.kwargs.get(name) for name in PROJECTED)
    return (state.depth, id(history), stored and (stored.logical, stored.tail), *map(id, given))


@dataclass(frozen=True)
class History:
    """What a layer stored before this forward: slot (and bias) of every entry [B, h], and its length in slots."""

    slots: Tensor
    length: int
    dense: bool
    keys: Tensor | None
    bias: Tensor | None = None


def history_of(state: Pass, call: LayerCall, stored_already: bool = False) -> History:
    """Entries of earlier forwards; with `stored_already` the layer has run, and this forward's entries are cut off."""
    batch, running, device = *call.hidden.shape[:2], call.hidden.device
    layer = (
        None
        if call.cache is None or call.index >= len(call.cache.layers)
        else call.cache.layers[call.index]
    )
    if layer is None or not layer.is_initialized or layer.get_seq_length() == 0:
        return History(torch.empty(batch, 0, dtype=torch.long, device=device), 0, True, None)
    length, entries = int(layer.get_seq_length()), layer.keys.shape[-2]
    bias: Tensor | None = None
    if isinstance(layer, KeptLayer):
        slots, dense, bias = (
            layer.slots(batch, device),
            layer.prefix is None or layer.prefix.dense,
            layer.bias(),
        )
    else:
        slots, dense = torch.arange(length - entries, length, device=device).expand(batch, -1), True
    past = max(0, entries - running) if stored_already else entries
    length -= state.length if stored_already else 0
    keys = layer.keys[..., :past, :] if past else None
    return History(
        slots[:, :past], length, dense, keys, None if bias is None or not past else bias[:, :past]
    )


def project_rows(state: Pass, call: LayerCall, history: History) -> Projection:
    """Rows and columns of the mask: the rows that run now, the entries of before and their own."""
    device = call.hidden.device
    if state.pruned:
        assert state.layout is not None
        rows, real, dense = (
            state.layout.origin.to(device),
            state.layout.valid.to(device),
            state.layout.dense,
        )
    else:
        rows = torch.arange(state.length, device=device).expand(call.hidden.shape[0], -1)
        real, dense = torch.ones_like(rows, dtype=torch.bool), True
    columns = torch.cat([history.slots, torch.where(real, rows + history.length, -1)], dim=1)
    bias = _joined(history, _gathered(state.bias, rows), rows)
    return Projection(
        rows, real, columns, history.length, state.length, dense and history.dense, bias
    )


def _joined(history: History, own: Tensor | None, rows: Tensor) -> Tensor | None:
    """Bias of the earlier entries and of the rows of this forward; who has none weighs as ever."""
    if own is None and history.bias is None:
        return None
    parts = ((history.bias, history.slots), (own, rows))
    return torch.cat(
        [torch.zeros(of.shape, device=of.device) if bias is None else bias for bias, of in parts],
        dim=1,
    )


@dataclass(frozen=True)
class _Door:
    """What all layers of one stage have in common: their keywords, and the slots they will have stored."""

    keywords: dict[str, Any]
    slots: Slots


def _project(state: Pass, call: LayerCall, rotary: nn.Module | None) -> _Door:
    projection = project_rows(state, call, history_of(state, call))
    mask = projection.apply(
        call.kwargs.get("attention_mask"), call.implementation, call.hidden.dtype
    )
    keywords: dict[str, Any] = {"attention_mask": mask}
    stored = call.stored
    before = None if stored is None or stored.prefix is None else stored.prefix.shift
    shift = _plus(
        None if before is None else before[:, None],
        _gathered(state.removed_before, projection.rows),
    )
    embeddings, ids = (call.kwargs.get(name) for name in PROJECTED[1:])
    if shift is not None and rotary is not None:
        keywords["position_embeddings"] = _renumber(state, call, rotary, shift)
    elif state.pruned and embeddings is not None:
        keywords["position_embeddings"] = tuple(
            gather_rows(table, projection.rows) for table in embeddings
        )
    if state.pruned and ids is not None:
        # flash attention takes gaps in the ids for packed sequences; cos and sin carry the true positions
        keywords["position_ids"] = (
            None if is_flash(call.implementation) else _gathered(ids, projection.rows)
        )
    shifted = _plus(before, state.removed_total)
    return _Door(keywords, Slots(projection.columns, shifted, projection.dense, projection.bias))


def _renumber(state: Pass, call: LayerCall, rotary: nn.Module, shift: Tensor) -> tuple[Tensor, ...]:
    """cos and sin at contiguous positions: the given position minus `shift` [B, P], what was removed in front of it."""
    layout = state.layout if state.pruned else None
    positions = state.positions if layout is None else _gathered(state.positions, layout.origin)
    assert positions is not None
    # the module's forward, not the module: our own hook on it listens for the model's positions only
    return rotary.forward(call.hidden, positions - shift)


def _gathered(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Entries `rows` [B, P] of `values` [1 or B, L]."""
    return None if values is None else values.expand(rows.shape[0], -1).gather(1, rows)


def _plus(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The sum, None counting as nothing."""
    return second if first is None else first if second is None else first + second
