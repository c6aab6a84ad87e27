"""Row numbers of one sample, as a slice where they follow each other.

The rows of one image nearly always do. A slice costs no kernel and copies nothing, where a tensor
of row numbers is one more thing to make, to send to the device and to gather by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = slice | Tensor  # `slice(first, last + 1)`, or ascending long [n]
Flags = NDArray[np.bool_]


def upload(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array of the host, on a device that is not waited for."""
    return torch.from_numpy(values).to(device, non_blocking=True)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, which is not waited for."""
    return values.to(device, non_blocking=True)


def rows_where(flags: Flags, device: torch.device) -> Rows:
    """The places of the set flags [L]."""
    places = flags.nonzero()[0]
    count = len(places)
    if count == 0:
        return slice(0, 0)

    first = int(places[0])
    last = int(places[-1])
    # a slice needs no copy to the device
    if last - first + 1 == count:
        return slice(first, last + 1)
    return upload(places, device)


def count_rows(rows: Rows) -> int:
    """How many they are."""
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def last_rows(rows: Rows, count: int) -> Rows:
    """The last `count` of them."""
    if isinstance(rows, slice):
        return slice(rows.stop - count, rows.stop)
    return rows[len(rows) - count :]


def without_last(rows: Rows, count: int) -> Rows:
    """All but the last `count` of them."""
    if isinstance(rows, slice):
        return slice(rows.start, rows.stop - count)
    return rows[: len(rows) - count]


def some_rows(rows: Rows, first: int, count: int) -> Rows:
    """At most `count` of them, from number `first` on."""
    if isinstance(rows, slice):
        return slice(rows.start + first, min(rows.start + first + count, rows.stop))
    return rows[first : first + count]


def pick(rows: Rows, index: Tensor) -> Tensor:
    """Entries `index` (long, any shape) of the rows."""
    return rows.start + index if isinstance(rows, slice) else rows[index]


def number(rows: Rows, device: torch.device) -> Tensor:
    """The row numbers as a tensor. -> long [n]."""
    if isinstance(rows, slice):
        return torch.arange(rows.start, rows.stop, device=device)
    return rows
