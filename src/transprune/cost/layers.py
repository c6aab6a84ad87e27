"""The work of decoder layers and of the LM head, counted from the sizes of a model.

The two conventions are those of `transprune.cost.count`: `paper` counts MACs of visual tokens with
keys and values as wide as queries, `exact` counts FLOPs of all tokens with the true widths.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

from transprune.cost.geometry import Geometry
from transprune.cost.layer_sizes import LayerSizes
from transprune.errors import MethodError

Convention = Literal["paper", "exact"]


def layer_cost(
    geometry: Geometry,
    rows: int,
    keys: int,
    convention: Convention,
    frozen: int = 0,
    *,
    index: int = 0,
    gone: int = 0,
) -> int:
    """Decoder layer `index`: `rows` tokens are projected, attend to `keys` tokens, pass the MLP.

    A frozen layer has `frozen` more tokens that only give keys and values. At prefill
    rows + frozen = keys. A recurrent layer attends to no keys: its work is linear in the rows.
    Of the rows, `gone` are dropped behind the attention, in front of the output projection.
    `geometry` has the sizes; by `convention` `"paper"` these are MACs, by `"exact"` FLOPs.

    Raises:
        MethodError: an unknown convention.
    """
    layer = geometry.layer(index)
    if check_convention(convention) == "paper":
        return _paper_layer(geometry.hidden, layer, rows, keys, frozen, gone)

    attention = 2 * rows * keys * layer.q_width  # logits, and the weighted sum of values
    projected = rows * (layer.projections + layer.mlp) + frozen * layer.kv_projections
    spared = gone * (layer.output + layer.mlp - layer.beside)
    return 2 * (projected + attention - spared)


def _paper_layer(d: int, layer: LayerSizes, rows: int, keys: int, frozen: int, gone: int) -> int:
    """The same with keys and values as wide as queries, and these as wide as the model."""
    if not layer.attends:  # recurrent: no published figure says how to count it
        return rows * (layer.projections + layer.mlp)

    # q and o; k and v, unless they are those of another layer
    own = 2 * d * d if layer.kv_width else 0
    attention = 2 * rows * keys * d
    spared = gone * (d * d + layer.mlp - layer.beside)
    return rows * (2 * d * d + own + layer.mlp) + attention + frozen * own - spared


def head_cost(geometry: Geometry, convention: Convention) -> int:
    """FLOPs of the LM head of one position; the `convention` `"paper"` leaves it out.

    Its sizes are those of `geometry`.

    Raises:
        MethodError: an unknown convention.
    """
    if check_convention(convention) == "paper":
        return 0

    return 2 * geometry.hidden * geometry.vocab


def prefill_cost(
    geometry: Geometry,
    lengths: Sequence[int],
    convention: Convention,
    frozen: Sequence[int] | None = None,
    inside: Collection[int] = (),
) -> int:
    """All layers over the prompt, and the LM head; scoring not included.

    `lengths[i]` tokens enter layer i, of which `frozen[i]` only give keys and values there (none by
    default). The layers `inside` drop tokens behind their attention already. `geometry` has the
    sizes; by `convention` `"paper"` these are MACs, by `"exact"` FLOPs.

    Raises:
        MethodError: an unknown convention.
    """
    frozen = frozen or [0] * len(lengths)
    total = head_cost(geometry, convention)

    for index, (tokens, still) in enumerate(zip(lengths, frozen, strict=True)):
        gone = tokens - lengths[index + 1] if index in inside else 0
        total += layer_cost(
            geometry, tokens - still, tokens, convention, still, index=index, gone=gone
        )

    return total


def decode_cost(geometry: Geometry, lengths: Sequence[int], convention: Convention) -> int:
    """One new token through all layers and the LM head; `lengths[i]` keys in layer i.

    `geometry` has the sizes; by `convention` `"paper"` these are MACs, by `"exact"` FLOPs.

    Raises:
        MethodError: an unknown convention.
    """
    total = head_cost(geometry, convention)
    for index, keys in enumerate(lengths):
        total += layer_cost(geometry, 1, keys, convention, index=index)
    return total


def kv_bytes(geometry: Geometry, lengths: Sequence[int], dtype_bytes: int = 2) -> int:
    """Bytes of keys and values when layer i of `geometry` stores `lengths[i]` tokens.

    Each number has `dtype_bytes` bytes, 2 in half precision.

    Layers without keys of their own store none. The state of a recurrent layer is left out: it has
    one size, however many tokens it has seen. A window over the newest tokens is not taken off, so
    the number is an upper bound where layers have one.
    """
    numbers = 0
    for index, tokens in enumerate(lengths):
        numbers += tokens * geometry.layer(index).kv_width
    return 2 * numbers * dtype_bytes


def check_convention(convention: str) -> str:
    """The convention itself; a MethodError if it is unknown."""
    if convention not in get_args(Convention):
        raise MethodError(f"a cost is counted by convention 'paper' or 'exact'; got {convention!r}")
    return convention
