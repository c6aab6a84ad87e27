"""Explain tokens by a few of them. Plain tensors in and out.

Shapes: n tokens, b of them in the basis, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-5  # added to the diagonal, as in ApET's code


def farthest_points(rows: Tensor, count: int) -> Tensor:
    """Farthest point sampling: each next row is the one farthest from all taken ones.

    The first is the one farthest from the mean; ties go to the lower index, and no row is taken
    twice. rows [n, D] -> [count] long, in the order of sampling.
    """
    rows = rows.float()
    gap = (rows - rows.mean(dim=0)).square().sum(dim=-1)  # [n]
    to_set = torch.full_like(gap, float("inf"))
    picks = torch.empty(count, dtype=torch.long, device=rows.device)

    for step in range(count):
        # equal rows are at distances that differ in their last bits
        pick = torch.nan_to_num(gap, nan=-1.0).argmax(dim=0, keepdim=True)  # [1]
        picks[step : step + 1] = pick

        to_set = torch.minimum(to_set, (rows - rows[pick]).square().sum(dim=-1))
        gap = to_set.index_fill(0, picks[: step + 1], float("-inf"))

    return picks


def approximation_error(rows: Tensor, basis: Tensor) -> Tensor:
    """The distance of each row from its best mixture of the rows `basis`, by ridge regression.

    rows [n, D], basis [b] long -> [n] float32. Rows of the basis have (nearly) none.

    Source: ApET (arXiv 2602.19870): W = (B B' + 1e-5 I)^-1 B X', error = |x - W' B|.
    """
    # in double: rows of the basis may be equal, and then only the ridge makes it solvable
    wide = rows.float() if rows.device.type == "mps" else rows.double()
    chosen = wide[basis]  # [b, D]

    gram = chosen @ chosen.T
    gram = gram + RIDGE * torch.eye(len(basis), dtype=gram.dtype, device=gram.device)
    # without the check for singular matrices, which would wait for the device
    weights, _ = torch.linalg.solve_ex(gram, chosen @ wide.T)  # [b, n]

    rest = wide - weights.T @ chosen  # [n, D]
    return rest.norm(dim=-1).float()
