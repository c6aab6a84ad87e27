"""The work of decoder layers and of the LM head, counted from the sizes of a model.

The two conventions are those of `transprune.cost.count`: `paper` counts MACs of visual tokens with
keys and values as wide as queries, `exact` counts FLOPs of all tokens with the true widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from transprune.cost.geometry import Geometry
from transprune.errors import MethodError

Convention = Literal["paper", "exact"]


def layer_cost(
    geometry: Geometry, rows: int, keys: int, convention: Convention, frozen: int = 0
) -> int:
    """One decoder layer: `rows` tokens are projected, attend to `keys` tokens, pass the gated MLP.

    A frozen layer has `frozen` more tokens that only give keys and values. At prefill
    rows + frozen = keys.
    """
    d = geometry.hidden
    mlp = 3 * d * geometry.intermediate  # gate, up and down
    if check_convention(convention) == "paper":
        # q, k, v, o; logits and the weighted sum of values; k and v of the frozen tokens
        return rows * (4 * d * d + mlp) + 2 * rows * keys * d + frozen * 2 * d * d

    q = geometry.q_width
    kv = geometry.kv_width
    projections = 2 * d * q + 2 * d * kv  # q and o, k and v
    attention = 2 * rows * keys * q  # logits, and the weighted sum of values
    return 2 * (rows * (projections + mlp) + attention + frozen * 2 * d * kv)


def head_cost(geometry: Geometry, convention: Convention) -> int:
    """The LM head of one position; `paper` leaves it out."""
    if check_convention(convention) == "paper":
        return 0

    return 2 * geometry.hidden * geometry.vocab


def prefill_cost(
    geometry: Geometry,
    lengths: Sequence[int],
    convention: Convention,
    frozen: Sequence[int] | None = None,
) -> int:
    """All layers over the prompt, and the LM head; scoring not included.

    `lengths[i]` tokens enter layer i, of which `frozen[i]` only give keys and values there (none by
    default).
    """
    frozen = frozen or [0] * len(lengths)
    total = head_cost(geometry, convention)

    for tokens, still in zip(lengths, frozen, strict=True):
        total += layer_cost(geometry, tokens - still, tokens, convention, still)

    return total


def decode_cost(geometry: Geometry, lengths: Sequence[int], convention: Convention) -> int:
    """One new token through all layers and the LM head; `lengths[i]` keys in layer i."""
    total = head_cost(geometry, convention)
    for keys in lengths:
        total += layer_cost(geometry, 1, keys, convention)
    return total


def kv_bytes(geometry: Geometry, lengths: Sequence[int], dtype_bytes: int = 2) -> int:
    """Bytes of keys and values when layer i stores `lengths[i]` tokens."""
    return 2 * sum(lengths) * geometry.kv_width * dtype_bytes


def check_convention(convention: str) -> str:
    """The convention itself; a MethodError if it is unknown."""
    if convention not in get_args(Convention):
        raise MethodError(f"a cost is counted by convention 'paper' or 'exact'; got {convention!r}")
    return convention
