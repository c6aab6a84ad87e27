"""What eviction refuses: wherever it matters which visual key a head keeps, or whose keys they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transprune.errors import CacheError, LayoutError
from transprune.families.layers import LayerKind
from transprune.methods.common.cache_pruner import CachePruner
from transprune.runtime.cache import differs_by_head
from transprune.runtime.static.layers import is_static

OWN_MASK = (
    "every head keeps other visual keys, so a mask of rows and columns cannot say which of them a "
    "row may attend to; pass the padding mask [samples, tokens]"
)
DRAFTS = (
    "{} lets keys go behind the prefill, and assisted decoding verifies its first drafts inside it, "
    "where every key is still there: other tokens might come out than without drafts. Decode "
    "without an assistant and without prompt lookup, or use a method that drops tokens"
)


def check_kinds(method: CachePruner, kinds: Sequence[LayerKind]) -> None:
    """Refuse a model in which it matters which visual key a head keeps, or whose it is.

    Raises:
        CacheError: sliding windows or shared keys.
    """
    windowed = [index for index, kind in enumerate(kinds) if kind.windowed]
    if windowed:
        raise CacheError(
            f"{method.name} lets every head keep other keys of a layer; decoder layers "
            f"{listed(windowed)} attend to the newest tokens only, where it matters how old each "
            "key is. Use a method that drops tokens (`transprune methods`)"
        )

    shared = [index for index, kind in enumerate(kinds) if kind.keys_of is not None]
    if shared:
        raise CacheError(
            f"{method.name} chooses keys by the attention of the layer that stores them; decoder "
            f"layers {listed(shared)} read those of other layers. Use a method that drops tokens "
            "(`transprune methods`)"
        )


def check_mask(cache: Any, evicts: bool) -> None:
    """Refuse a mask of rows and columns, which may choose among visual tokens.

    Args:
        cache: of the call that came with such a mask, or None.
        evicts: whether keys will be evicted behind this call.

    Raises:
        LayoutError: heads hold, or will hold, keys of different tokens.
    """
    # `generate` makes such masks itself for static caches, from the padding mask
    if not is_static(cache) and (evicts or differs_by_head(cache)):
        raise LayoutError(OWN_MASK)


def check_drafts(method: CachePruner, drafts: int) -> None:
    """Refuse drafts that come with a prompt.

    Raises:
        CacheError: there are some.
    """
    if drafts:
        raise CacheError(DRAFTS.format(method.name))


def listed(layers: Sequence[int]) -> str:
    """`3 to 7` or `1, 4`, and how many more there are."""
    if len(layers) > 1 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]} to {layers[-1]}"
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return ", ".join(map(str, layers[:6])) + more
