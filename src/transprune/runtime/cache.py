"""Pruned layers in the user's own cache: finding them, putting them in, and refusing other caches."""

from __future__ import annotations

from typing import Any

from transprune.core.library import private, where_there
from transprune.errors import CacheError
from transprune.runtime.cache_layers import KeptLayer
from transprune.runtime.guard import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    Guard,
    GuardedLayer,
    GuardedSlidingLayer,
)
from transprune.runtime.static.checks import check_static_cache
from transprune.runtime.static.layers import is_static

DynamicCache: Any = private("transformers.cache_utils", "DynamicCache")

# layers that carry a state in place of keys, and those that read the keys of another layer
WITHOUT_KEYS = where_there("transformers.cache_utils", "LinearAttentionLayer", "DummyLayer")

FIT_LAYERS = (
    *WITHOUT_KEYS,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    KeptLayer,
    GuardedLayer,
    GuardedSlidingLayer,
)


def kept_layer(cache: Any, index: int) -> KeptLayer | None:
    """The pruned cache layer of decoder layer `index`, or None if it stores everything."""
    if cache is None or index >= len(cache.layers):
        return None
    layer = cache.layers[index]
    return layer if isinstance(layer, KeptLayer) else None


def has_pruned_prefix(cache: Any) -> bool:
    """Whether any layer of this cache stores a pruned prefix."""
    layers = getattr(cache, "layers", None)
    # the first layer with keys of such a cache is guarded, whichever one is pruned
    if not layers or not getattr(layers[_first_with_keys(layers)], "guards", False):
        return False
    return any(getattr(layer, "prefix", None) is not None for layer in layers)


def differs_by_head(cache: Any) -> bool:
    """Whether the heads of some layer of this cache hold keys of different tokens."""
    return any(getattr(layer, "by_head", False) for layer in getattr(cache, "layers", ()))


def guard_of(cache: Any) -> Guard | None:
    """The guarded first layer of a cache that lacks pruned tokens; None of any other cache."""
    layers = getattr(cache, "layers", None)
    if not layers:
        return None
    first = layers[_first_with_keys(layers)]
    return first if isinstance(first, Guard) else None


def renewed(cache: Any, decoder: Any) -> list[Any]:
    """Empty a dynamic cache for the decoder; returns the layers it had.

    Raises:
        CacheError: it is not dynamic.
    """
    if not isinstance(cache, DynamicCache):
        raise CacheError(
            f"turns='refresh' empties the DynamicCache of a conversation; got {type(cache).__name__}"
        )
    before = list(cache.layers)
    cache.layers[:] = DynamicCache(config=decoder.config).layers
    return before


def forget_announcements(cache: Any) -> None:
    """Let all layers of a pruned cache forget a call that has failed."""
    for layer in getattr(cache, "layers", ()):
        if getattr(layer, "guards", False):
            layer.forget_announcement()


def prepare(cache: Any) -> bool:
    """Announce to a pruned cache that hooks run in this call.

    Returns:
        Whether "no mask" is right for all that is stored: there are no fillers, and all keys count
        alike.
    """
    plain = True
    for layer in cache.layers:
        if getattr(layer, "guards", False):
            layer.prepare()
            plain = plain and layer.plain
    return plain


def _first_with_keys(layers: list[Any]) -> int:
    """Number of the first layer that stores keys; 0 if none does."""
    for index, layer in enumerate(layers):
        if type(layer) not in WITHOUT_KEYS:
            return index
    return 0


def _guard(cache: Any, index: int) -> None:
    """Let the first layer with keys of a cache refuse calls without hooks."""
    first = cache.layers[index]
    sliding = isinstance(first, DynamicSlidingWindowLayer)
    kind = GuardedSlidingLayer if sliding else GuardedLayer
    guarded = kind.__new__(kind)
    guarded.__dict__.update(vars(first))
    guarded.watch(cache.layers)
    cache.layers[index] = guarded


def install(cache: Any, index: int) -> KeptLayer:
    """The KeptLayer of decoder layer `index`, put in place of what was there, with its contents."""
    while len(cache.layers) <= index:  # a bare DynamicCache() grows its list on demand
        cache.layers.append(DynamicLayer())

    old = cache.layers[index]
    if isinstance(old, KeptLayer):
        return old

    if type(old) not in FIT_LAYERS:
        check_cache(cache)

    kept = KeptLayer(old)
    cache.layers[index] = kept
    first = _first_with_keys(cache.layers)
    if index == first:
        kept.watch(cache.layers)
    elif not isinstance(cache.layers[first], Guard):
        _guard(cache, first)

    return kept


def check_cache(cache: Any, slots: int = 0) -> None:
    """Refuse a cache that cannot hold pruned keys, before anything has been touched.

    Args:
        cache: the cache, or None.
        slots: length of the prompt.

    Raises:
        CacheError: a quantised, offloaded or unknown cache, or a static one without the room.
    """
    if cache is None:
        return
    if is_static(cache):
        check_static_cache(cache, slots)
        return

    # exact types: a subclass may store its entries in another way, as quantised layers do
    layers = getattr(cache, "layers", ())
    unfit = {type(layer).__name__ for layer in layers if type(layer) not in FIT_LAYERS}
    offloaded = getattr(cache, "offloading", False)
    if isinstance(cache, DynamicCache) and not unfit and not offloaded:
        return

    name = f"an offloaded {type(cache).__name__}" if offloaded else type(cache).__name__
    of = f" of {', '.join(sorted(unfit))}" if unfit else ""
    raise CacheError(
        f"pruning stores fewer keys in a plain DynamicCache or StaticCache; got {name}{of}. Leave "
        "cache_implementation unset and pass no other cache, or run this call outside the session."
    )
