"""One call of a decoder layer, and the keys it stored before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from transprune.core.library import cache_of
from transprune.families.layers import LayerKind
from transprune.runtime.cache import kept_layer
from transprune.runtime.cache_layers import KeptLayer
from transprune.runtime.forward_pass import Pass
from transprune.runtime.slots import Slots
from transprune.runtime.static.layers import is_static


@dataclass(frozen=True)
class LayerCall:
    """One call of a decoder layer, as the hook received it.

    Attributes:
        index: 0-based decoder layer.
        layer: the module.
        kind: what it is.
        hidden: [B, L, D], the rows that enter it.
        kwargs: its keyword arguments, in coordinates of the unpruned forward.
    """

    index: int
    layer: Any
    kind: LayerKind
    hidden: Tensor
    kwargs: dict[str, Any]

    @cached_property
    def cache(self) -> Any:
        """The cache object, or None."""
        return cache_of(self.kwargs)

    @property
    def stored(self) -> KeptLayer | None:
        """The pruned cache entry whose keys this layer reads, if it has one."""
        owner = self.kind.keys_of
        return kept_layer(self.cache, self.index if owner is None else owner)

    @property
    def prefix(self) -> Slots | None:
        """The pruned part of that entry, if there is one."""
        stored = self.stored
        return None if stored is None else stored.prefix

    @property
    def implementation(self) -> str:
        """Attention implementation of the layer."""
        # read at every call: a user may change it between two
        return str(self.kind.mixer.config._attn_implementation)


@dataclass(frozen=True)
class History:
    """Keys that a layer stored before this forward. Shapes: h entries.

    Attributes:
        slots: slot of every entry, in coordinates of the unpruned sequence; None if there are none.
        length: their number in those coordinates, pruned tokens included.
        keys: [B, Hkv, h, d], rotated; None if there are none.
    """

    slots: Slots | None
    length: int
    keys: Tensor | None


NOTHING = History(None, 0, None)


def history_of(state: Pass, call: LayerCall, stored_already: bool = False) -> History:
    """Entries of earlier forwards.

    With `stored_already` the layer has run in this forward, and its new entries are cut off.
    """
    # a bare DynamicCache has no entry for a layer that has not run yet
    cache = call.cache
    if cache is None or call.index >= len(cache.layers):
        return NOTHING
    if is_static(cache):
        return NOTHING  # prompts go into an empty one only

    layer = cache.layers[call.index]
    if not layer.is_initialized or layer.get_seq_length() == 0:
        return NOTHING

    batch, running, _ = call.hidden.shape
    length = int(layer.get_seq_length())
    entries = layer.keys.shape[-2]
    past = entries
    if stored_already:
        # the layer stored one entry per running row
        past = max(0, entries - running)
        length -= state.length

    if past == 0:
        return History(None, length, None)

    device = call.hidden.device
    if isinstance(layer, KeptLayer):
        slots = layer.slots(batch, device)
    else:
        # an untouched layer holds its newest entries in order; a sliding window may have cut off
        # the oldest
        last = int(layer.get_seq_length())
        newest = torch.arange(last - entries, last, device=device)
        slots = Slots(newest.expand(batch, -1), True)

    return History(slots.without_last(entries - past), length, layer.keys[..., :past, :])
