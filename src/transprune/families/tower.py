"""Attention inside a vision tower, from projected queries and keys.

Shapes: C inputs, H heads, n patches, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 512  # query rows at a time, so that no n x n map is ever held


def attention_row(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Attention from one row to all patches, mean over heads, fp32. query [C, H, d], key [C, H, n, d] -> [C, n]."""
    logits = torch.einsum("chd,chnd->chn", query.float(), key.float()) * scale
    return logits.softmax(dim=-1).mean(dim=1)


def attention_received(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Mean attention each patch receives from all patches, mean over heads, fp32. query, key [H, n, d] -> [n].

    Exact, in chunks of query rows: memory grows with n, not with n squared.
    """
    total = torch.zeros(key.shape[1], device=key.device)
    for rows in query.float().split(CHUNK, dim=1):
        total += (torch.einsum("hqd,hnd->hqn", rows, key.float()) * scale).softmax(dim=-1).sum(dim=1).mean(dim=0)
    return total / query.shape[1]
