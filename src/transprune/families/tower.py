"""Attention of a vision tower, for all families.

Shapes: C inputs, H heads, n patches, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**22  # attention weights at a time, 16 MiB, so that no n x n map is ever held


def heads_of(projected: Tensor, heads: int) -> Tensor:
    """[C, n, H * d] -> [C, H, n, d]."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)


def saliency_of(query: Tensor, key: Tensor, scale: float, has_cls: bool) -> Tensor:
    """CLS attention; without a CLS token, the mean attention received. [C, H, n, d] -> [C, n]."""
    if has_cls:
        return attention_row(query[:, :, 0], key, scale)  # CLS comes first
    # input by input, as the chunks below are sized for one
    return torch.stack([attention_received(q, k, scale) for q, k in zip(query, key, strict=True)])


def attention_row(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Attention from one row to all patches, mean over heads, fp32.

    query [C, H, d], key [C, H, n, d] -> [C, n].
    """
    # fp32, because half precision makes ties among several hundred small probabilities
    logits = torch.einsum("chd,chnd->chn", query.float(), key.float()) * scale
    return logits.softmax(dim=-1).mean(dim=1)  # [C, H, n] -> [C, n]


def attention_received(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Mean attention each patch receives from all patches, mean over heads, fp32.

    query, key [H, n, d] -> [n].

    Exact, in chunks of query rows: memory grows with n, not with n squared.
    """
    heads, patches = key.shape[:2]
    keys = key.float()
    total = torch.zeros(patches, dtype=torch.float32, device=key.device)

    rows_at_once = max(1, CHUNK // (heads * patches))
    for rows in query.float().split(rows_at_once, dim=1):
        logits = torch.einsum("hqd,hnd->hqn", rows, keys) * scale
        received = logits.softmax(dim=-1).sum(dim=1)  # [H, q, n] -> [H, n]
        total += received.mean(dim=0)

    return total / patches


def grid_places(rows: int, columns: int, device: torch.device | str = "cpu") -> Tensor:
    """Row and column of every cell of a grid in raster order. -> [rows * columns, 2] long."""
    return torch.cartesian_prod(
        torch.arange(rows, device=device), torch.arange(columns, device=device)
    )


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic with antialiasing, as image processors do; keeps the dtype.

    [C, channels, H, W] -> [C, channels, *size].
    """
    small = torch.nn.functional.interpolate(pixels.float(), size, mode="bicubic", antialias=True)
    return small.to(pixels.dtype)
