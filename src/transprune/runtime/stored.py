"""How much of a prefill the key/value cache stores, layer by layer."""

from __future__ import annotations

from typing import Any

from transprune.core.plan import per_layer_widths
from transprune.errors import SessionError
from transprune.families.layers import LayerKind
from transprune.runtime.forward_pass import Pass
from transprune.runtime.static.layers import is_static
from transprune.runtime.taps.base import Setup


def kv_lengths_of(state: Pass, kinds: list[LayerKind], cache: Any) -> tuple[int, ...]:
    """Entries per sample that each layer stores, or would store if there were a cache."""
    # the buffers of a static cache have room for tokens to come, which is not counted
    if cache is None or is_static(cache):
        counted = per_layer_widths(len(kinds), state.length, state.record.widths)
        evicted = {e.layer: e.width for e in state.record.evictions}
        widths = tuple(evicted.get(index, width) for index, width in enumerate(counted))
    else:
        # earlier turns and the fillers of ragged batches are stored too, so they count
        stores = [index for index, kind in enumerate(kinds) if kind.stores_keys]
        entries = {index: _entries(cache, index) for index in stores}
        widths = tuple(entries.get(index, 0) for index in range(len(kinds)))

    # a layer that shares the keys of another one stores none of its own
    pairs = zip(widths, kinds, strict=True)
    return tuple(width if kind.stores_keys else 0 for width, kind in pairs)


def kv_bytes_of(
    state: Pass, setup: Setup, lengths: tuple[int, ...], geometry: Any, cache: Any
) -> int:
    """Bytes of keys and values; counted from the sizes where no cache has grown to hold them."""
    if cache is not None and not is_static(cache):
        stored = [cache.layers[index] for index, length in enumerate(lengths) if length]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in stored)

    dtype = next(setup.base.parameters()).dtype
    return 2 * sum(lengths) * state.batch * int(geometry.kv_width) * dtype.itemsize


def _entries(cache: Any, index: int) -> int:
    """Entries per sample in the cache of decoder layer `index`.

    Raises:
        SessionError: the layer stored nothing.
    """
    layer = cache.layers[index] if index < len(cache.layers) else None
    if layer is None or not layer.is_initialized:
        raise SessionError(
            f"decoder layer {index} stored no keys in the cache it was given, so later tokens "
            "could not attend to this prompt; was its forward replaced?"
        )
    return int(layer.keys.shape[-2])
