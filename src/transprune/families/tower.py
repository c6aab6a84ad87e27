"""Attention of a vision tower, for all families.

Shapes: C inputs, H heads, n patches, d head width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from transprune.core.signals import threshold_of
from transprune.errors import PruneWarning

CHUNK = 2**21  # attention weights at a time, 8 MiB, so that no n x n map is ever held


def heads_of(projected: Tensor, heads: int) -> Tensor:
    """[C, n, H * d] -> [C, H, n, d]."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)


def saliency_of(
    query: Tensor, key: Tensor, scale: float, has_cls: bool, name: str = "saliency"
) -> Tensor:
    """The signal `name` of each row of the tower's inputs. [C, H, n, d] -> [C, n].

    CLS attention, or without a CLS token the mean attention received; for `context_saliency` the
    attention received from the most attended patches.
    """
    threshold = threshold_of(name)
    if threshold is not None:
        pairs = zip(query, key, strict=True)
        first = int(has_cls)
        return torch.stack([context_attention(q, k, scale, threshold, first) for q, k in pairs])
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
    patches = key.shape[1]
    total = torch.zeros(patches, dtype=torch.float32, device=key.device)
    for attention in _maps(query, key, scale):
        total += attention.sum(dim=1).mean(dim=0)  # [H, q, n] -> [n]

    return total / patches


def context_attention(
    query: Tensor, key: Tensor, scale: float, threshold: float, first: int = 0
) -> Tensor:
    """Mean attention each row receives from the context tokens, mean over heads, fp32.

    query, key [H, n, d] -> [n].

    Context tokens are the rows that receive more than `threshold` times the mean of what all rows
    do; the one that receives most is always among them, so that there are some. Two passes in
    chunks of query rows. The first `first` rows (a CLS token) are neither context nor counted.

    Source: the importance map of VFlowOpt (ICCV 2025).
    """
    patches = key.shape[1] - first
    if threshold >= patches:
        warnings.warn(
            f"no patch receives more than {threshold:g} times the mean of {patches} patches, so "
            "the context is the one most attended patch; the published thresholds are for 729",
            PruneWarning,
            stacklevel=2,
        )

    received = attention_received(query[:, first:], key, scale)[first:]  # [patches]
    context = (received > threshold * received.mean()) | (received == received.amax())
    weight = context.float() / context.sum()

    total = torch.zeros(key.shape[1], dtype=torch.float32, device=key.device)
    start = 0
    for attention in _maps(query[:, first:], key, scale):
        rows = weight[start : start + attention.shape[1]]
        total += torch.einsum("q,hqn->n", rows, attention) / len(attention)
        start += len(rows)

    return total


def _maps(query: Tensor, key: Tensor, scale: float) -> Iterator[Tensor]:
    """Attention of all query rows, a few at a time. [H, m, d], [H, n, d] -> [H, q, n] each, fp32."""
    keys = key.float()
    heads, patches = key.shape[:2]
    rows_at_once = max(1, CHUNK // (heads * patches))
    for rows in query.float().split(rows_at_once, dim=1):
        logits = torch.einsum("hqd,hnd->hqn", rows, keys) * scale
        yield logits.softmax(dim=-1)


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
