"""Optimal transport between two sets of tokens. Plain tensors in and out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def sinkhorn(
    cost: Tensor,
    smoothing: float,
    rounds: int,
    end: Literal["column", "row"] = "column",
    relax: float = 0.0,
) -> Tensor:
    """The entropic transport plan after a few rounds, between uniform marginals.

    The side that is scaled last meets its marginal exactly, the other one does not: after so few
    rounds its sums say which rows are cheap to use.

    Args:
        cost: [n, m], of moving a unit from row i to column j.
        smoothing: epsilon; the kernel is exp(-cost / epsilon).
        rounds: each scales both sides once.
        end: the side that is scaled last.
        relax: 0 scales the other side to its marginal, 1 leaves it free; between them its scaling
            is taken to the power of 1 - relax, as in unbalanced transport.

    Returns:
        The plan, float32 [n, m], which sums to 1.

    Source: Cuturi, NeurIPS 2013 (arXiv 1306.0895), algorithm 1; the power as in Chizat et al., 2018
    (arXiv 1607.05816).
    """
    # a constant changes nothing, and keeps the largest entry of each row a number
    cost = cost.float()
    kernel = ((cost.amin() - cost) / smoothing).exp()
    if end == "row":
        return sinkhorn(cost.T, smoothing, rounds, relax=relax).T

    rows, columns = kernel.shape
    below = torch.finfo(kernel.dtype).tiny
    right = kernel.new_full((columns,), 1 / columns)
    for _ in range(rounds):
        left = ((1 / rows) / (kernel @ right).clamp(min=below)) ** (1 - relax)
        right = (1 / columns) / (kernel.T @ left).clamp(min=below)

    return left[:, None] * kernel * right
