"""A key/value cache layer that stores fewer entries than it reports.

`KeptLayer` holds P physical entries per sample and answers every question about length in *unpruned* coordinates. Mask
creation, generate's slicing of a second turn, beams, crops and deep copies then work by themselves, while the memory
really is shorter. It is installed into the user's own `DynamicCache`, one layer at a time, just before that layer
first stores pruned keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.library import private
from transprune.errors import CacheError

Cache: Any = private("transformers.cache_utils", "Cache")
DynamicCache: Any = private("transformers.cache_utils", "DynamicCache")
DynamicLayer: Any = private("transformers.cache_utils", "DynamicLayer")
DynamicSlidingWindowLayer: Any = private("transformers.cache_utils", "DynamicSlidingWindowLayer")


class Slots:
    """Logical slot of every entry of a pruned prefix, shared by the layers of one stage.

    Attributes:
        slots: long [B, P]; -1 marks the fillers of ragged batches.
        shift: long [B], tokens that renumbering removed before whatever comes next, or None where positions are kept.
        dense: no filler in it; known from Python ints, so asking never waits for the device.
        bias: float32 [B, P], what every query adds to its logits of these keys, or None.
    """

    def __init__(
        self, slots: Tensor, shift: Tensor | None, dense: bool, bias: Tensor | None = None
    ) -> None:
        self.slots, self.shift, self.dense, self.bias = slots, shift, dense, bias
        self._mapped: tuple[Any, Slots] | None = None

    def map_batch(self, key: Any, change: Callable[[Tensor], Tensor]) -> Slots:
        """The slots after a batch operation; layers that apply the same one (same `key` object) keep sharing."""
        if self._mapped is None or self._mapped[0] is not key:
            shift, bias = (
                None if values is None else change(values) for values in (self.shift, self.bias)
            )
            self._mapped = (key, Slots(change(self.slots), shift, self.dense, bias))
        return self._mapped[1]

    def without_last(self, n: int) -> Slots:
        """The slots without the last `n` entries."""
        left = self.slots.shape[1] - n
        return Slots(
            self.slots[:, :left],
            self.shift,
            self.dense,
            None if self.bias is None else self.bias[:, :left],
        )


class KeptLayer(DynamicLayer):
    """Entries = a pruned prefix (`prefix`) and a contiguous tail of `tail` entries that ends at `logical - 1`."""

    def __init__(self, old: DynamicLayer) -> None:
        super().__init__()
        self.is_sliding = old.is_sliding
        self.logical = self.tail = 0
        self.prefix: Slots | None = None
        self._announced: tuple[Slots, int] | None = None
        if old.is_initialized and old.get_seq_length() > 0:
            self.lazy_initialization(old.keys, old.values)
            self.keys, self.values = old.keys, old.values
            self.logical, self.tail = old.get_seq_length(), old.keys.shape[-2]

    def slots(self, batch: int, device: torch.device) -> Tensor:
        """Logical slot of every stored entry. -> long [B, P]."""
        tail = torch.arange(self.logical - self.tail, self.logical, device=device).expand(
            batch, self.tail
        )
        return (
            tail if self.prefix is None else torch.cat([self.prefix.slots.to(device), tail], dim=1)
        )

    def bias(self) -> Tensor | None:
        """What every query adds to its logits of each stored key, float32 [B, P]; None where no key weighs more."""
        if self.prefix is None or self.prefix.bias is None:
            return None
        return nn.functional.pad(self.prefix.bias, (0, self.tail))

    def announce(self, prefix: Slots, logical: int) -> None:
        """The next `update` stores pruned rows: afterwards `prefix` describes everything, `logical` slots later."""
        self._announced = (prefix, logical)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [B, H, n, d]; returns all stored ones."""
        if self._announced is not None:
            self.prefix, advance = self._announced
            self.logical, self.tail, self._announced = self.logical + advance, 0, None
        else:
            self.logical += key_states.shape[-2]
            self.tail += key_states.shape[-2]
        return super().update(key_states, value_states)

    def get_seq_length(self) -> int:
        """Length in unpruned coordinates."""
        return self.logical

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Width and offset of the mask, in unpruned coordinates."""
        return self.logical + query_length, 0

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.logical = self.tail = 0
        self.prefix = self._announced = None

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the newest `-tokens_to_remove` tokens, as assisted decoding does with rejected drafts.

        Raises:
            CacheError: the cut would reach into tokens that were pruned.
        """
        if tokens_to_remove > 0:
            raise CacheError(
                f"crop takes a negative number of tokens to remove; got {tokens_to_remove}"
            )
        n = -tokens_to_remove
        if n == 0 or not self.is_initialized:
            return
        beyond = n - self.tail
        if beyond > 0:  # drafts verified inside the prefill forward sit at the end of the prefix
            self._crop_prefix(beyond, n)
        self.keys, self.values = self.keys[..., :-n, :], self.values[..., :-n, :]
        self.logical, self.tail = self.logical - n, max(0, self.tail - n)

    def _crop_prefix(self, beyond: int, n: int) -> None:
        newest = None if self.prefix is None else self.prefix.slots[:, -beyond:]
        want = torch.arange(self.logical - n, self.logical - self.tail)
        if newest is None or newest.shape[1] != beyond or not bool((newest.cpu() == want).all()):
            raise CacheError(
                "crop would cut into pruned tokens; crop at most what was generated after the prompt"
            )
        assert self.prefix is not None
        self.prefix = self.prefix.without_last(beyond)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder samples for beam search."""
        super().reorder_cache(beam_idx)
        self._map_prefix(beam_idx, lambda t: t.index_select(0, beam_idx.to(t.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sample `repeats` times."""
        super().batch_repeat_interleave(repeats)
        self._map_prefix(repeats, lambda t: t.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the samples `indices`."""
        super().batch_select_indices(indices)
        self._map_prefix(indices, lambda t: t[indices])

    def _map_prefix(self, key: Any, change: Callable[[Tensor], Tensor]) -> None:
        if self.prefix is not None:
            self.prefix = self.prefix.map_batch(key, change)


def kept_layer(cache: Cache | None, index: int) -> KeptLayer | None:
    """The pruned cache layer of decoder layer `index`, or None where that layer stores everything."""
    if cache is None or index >= len(cache.layers):
        return None
    layer = cache.layers[index]
    return layer if isinstance(layer, KeptLayer) else None


def needs_door(cache: Cache | None) -> bool:
    """Does any layer of this cache store a pruned prefix?"""
    return any(
        isinstance(layer, KeptLayer) and layer.prefix is not None
        for layer in getattr(cache, "layers", ())
    )


def install(cache: Cache, index: int) -> KeptLayer:
    """The KeptLayer of decoder layer `index`, put in place of what was there, with its contents."""
    while len(cache.layers) <= index:  # a bare DynamicCache() grows its list on demand
        cache.layers.append(DynamicLayer())
    old = cache.layers[index]
    if isinstance(old, KeptLayer):
        return old
    check_cache(cache)
    cache.layers[index] = KeptLayer(old)
    return cache.layers[index]


def check_cache(cache: Cache | None) -> None:
    """Refuse a cache that cannot hold pruned keys, before anything has been touched.

    Raises:
        CacheError: a static, quantised, offloaded or unknown cache.
    """
    if cache is None:
        return
    unfit = {
        type(layer).__name__
        for layer in getattr(cache, "layers", ())
        if type(layer) not in FIT_LAYERS
    }
    if not isinstance(cache, DynamicCache) or unfit or getattr(cache, "offloading", False):
        offloaded = "an offloaded " if getattr(cache, "offloading", False) else ""
        raise CacheError(
            f"pruning stores fewer keys in a plain DynamicCache; got {offloaded}{type(cache).__name__}"
            f"{' of ' + ', '.join(sorted(unfit)) if unfit else ''}. Leave cache_implementation unset and pass no other "
            "cache, or run this call outside the session."
        )


FIT_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, KeptLayer)
