"""Find equal rows. Tensors become hashes on the device, hashes become indices on the host.

Shapes: N rows, R rows of a source, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.rows import upload

Hashes = NDArray[np.int64]

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # of as many bytes as a float


def match_hashes(rows: Hashes, source: Hashes) -> Hashes:
    """For each row an identical row of `source`, -1 where there is none. On the host.

    int64 [N], [R] of `hash_rows` -> [N]. The k-th of several identical rows gets the k-th identical
    row of `source`, beginning anew where `source` has fewer: a still video, the same picture twice
    and a page of one colour have such rows, and each of them is a patch of its own.

    Bit-exact: rows are compared by an integer hash of their bits. So the patch behind a visual
    token is found however a family crops, reorders, repeats or interleaves patches on their way
    into the prompt.
    """
    if len(source) == 0:
        return np.full(len(rows), -1, dtype=np.int64)

    order = source.argsort(kind="stable")
    ordered = source[order]
    first = ordered.searchsorted(rows)
    copies = ordered.searchsorted(rows, side="right") - first

    place = first + _rank_among_equals(rows) % np.maximum(copies, 1)
    found: Hashes = np.where(copies > 0, order[np.minimum(place, len(source) - 1)], -1)
    return found


def _rank_among_equals(values: Hashes) -> Hashes:
    """How many equal values stand in front of each. [N] -> [N]."""
    order = values.argsort(kind="stable")
    ordered = values[order]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(values)) - ordered.searchsorted(ordered)
    return rank


def hash_rows(rows: Tensor) -> Tensor:
    """A 64-bit hash of the bits of each row. [N, D] -> [N] long."""
    bits = rows.contiguous().view(_INTEGERS[rows.element_size()]).long()

    # seeded by the width: the same rows have the same hash in every call
    generator = torch.Generator().manual_seed(rows.shape[-1])
    weights = torch.randint(1, 2**62, (rows.shape[-1],), generator=generator) | 1
    return (bits * upload(weights.numpy(), rows.device)).sum(dim=-1)  # wraps around, on purpose
