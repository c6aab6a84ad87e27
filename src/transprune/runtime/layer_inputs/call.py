"""One call of a decoder layer, and the keys it stored before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transprune.core.library import cache_of
from transprune.runtime.cache import kept_layer
from transprune.runtime.cache_layers import KeptLayer
from transprune.runtime.forward_pass import Pass
from transprune.runtime.slots import Slots


@dataclass(frozen=True)
class LayerCall:
    """One call of a decoder layer, as the hook received it.

    Attributes:
        index: 0-based decoder layer.
        layer: the module.
        hidden: [B, L, D], the rows that enter it.
        kwargs: its keyword arguments, in coordinates of the unpruned forward.
    """

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
    def prefix(self) -> Slots | None:
        """The pruned part of that entry, if there is one."""
        stored = self.stored
        return None if stored is None else stored.prefix

    @property
    def implementation(self) -> str:
        """Attention implementation of the layer."""
        # read at every call: a user may change it between two
        return str(self.layer.self_attn.config._attn_implementation)


@dataclass(frozen=True)
class History:
    """Keys that a layer stored before this forward. Shapes: h entries.

    Attributes:
        slots: slot of every entry, in coordinates of the unpruned sequence.
        length: their number in those coordinates, pruned tokens included.
        keys: [B, Hkv, h, d], rotated; None if there are none.
    """

    slots: Slots
    length: int
    keys: Tensor | None


def history_of(state: Pass, call: LayerCall, stored_already: bool = False) -> History:
    """Entries of earlier forwards.

    With `stored_already` the layer has run in this forward, and its new entries are cut off.
    """
    batch, running, _ = call.hidden.shape
    device = call.hidden.device

    # a bare DynamicCache has no entry for a layer that has not run yet
    layer = None
    if call.cache is not None and call.index < len(call.cache.layers):
        layer = call.cache.layers[call.index]
    if layer is None or not layer.is_initialized or layer.get_seq_length() == 0:
        nothing = torch.empty(batch, 0, dtype=torch.long, device=device)
        return History(Slots(nothing, None, True), 0, None)

    length = int(layer.get_seq_length())
    entries = layer.keys.shape[-2]
    if isinstance(layer, KeptLayer):
        slots = layer.slots(batch, device)
    else:
        # an untouched layer holds its newest entries in order; a sliding window may have cut off
        # the oldest
        newest = torch.arange(length - entries, length, device=device)
        slots = Slots(newest.expand(batch, -1), None, True)

    past = entries
    if stored_already:
        # the layer stored one entry per running row
        past = max(0, entries - running)
        length -= state.length

    keys = layer.keys[..., :past, :] if past else None
    return History(slots.without_last(entries - past), length, keys)
