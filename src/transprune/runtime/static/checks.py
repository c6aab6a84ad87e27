"""Refuse static caches that cannot hold a pruned prompt, before anything has been touched."""

from __future__ import annotations

from typing import Any

from transprune.errors import CacheError
from transprune.runtime.static.layers import StaticKeptLayer, StaticLayer


def check_static_cache(cache: Any, slots: int) -> None:
    """Refuse a static cache that cannot hold a pruned prompt of so many slots.

    Raises:
        CacheError: it has other layers than full attention, is offloaded, too short, or filled.
    """
    kinds = {type(layer).__name__ for layer in cache.layers if not _fits(layer)}
    if kinds or getattr(cache, "offloading", False):
        what = ", ".join(sorted(kinds)) or "offloaded layers"
        raise CacheError(
            f"pruning fills static caches of plain full attention; got one of {what}. Leave "
            "cache_implementation unset: a DynamicCache takes sliding windows too"
        )

    longest = min(layer.max_cache_len for layer in cache.layers)
    if slots > longest:
        raise CacheError(
            f"this static cache has room for {longest} tokens, and the prompt has {slots}. Make it "
            "as long as the (unpruned) prompt and all new tokens together: "
            "StaticCache(config, max_cache_len)"
        )

    if any(layer.is_initialized and int(layer.get_seq_length()) for layer in cache.layers):
        raise CacheError(
            "this static cache holds an earlier turn, and a later one with an image cannot be "
            "pruned into fixed buffers. Reset the cache, or use a DynamicCache (leave "
            "cache_implementation unset)"
        )


def _fits(layer: Any) -> bool:
    return type(layer) in (StaticLayer, StaticKeptLayer)
