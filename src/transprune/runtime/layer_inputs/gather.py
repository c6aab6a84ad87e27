"""Entries of tables for the rows that run."""

from __future__ import annotations

import torch
from torch import Tensor


def gather_ids(values: Tensor, rows: Tensor) -> Tensor:
    """Entries `rows` [B, P] of `values` [1 or B, L], or of each plane of [A, 1 or B, L]."""
    if values.ndim == 3:  # positions under M-RoPE have one plane for each axis
        return torch.stack([gather_ids(plane, rows) for plane in values])
    return values.expand(rows.shape[0], -1).gather(1, rows)
