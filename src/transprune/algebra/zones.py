"""Share a budget among groups of tokens, and choose the best of each. Tensors in, indices out.

Nothing here waits for the device: how many tokens a group gets is known there only. Shapes: n
tokens, Z groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transprune.algebra.select import rankable

LEAST_SPREAD = 1e-12  # of the values in a group; all equal is 0 throughout


def number_blocks(place: Tensor, crop: Tensor, side: int) -> Tensor:
    """The block of `side` x `side` places that each token is in, numbered 0, 1, ... in raster order.

    place [n, 2], crop [n] long, on the host -> [n] long. Blocks at the right and lower edge of an
    uneven grid are smaller; blocks of different crops are different.
    """
    row, column = (place // side).unbind(dim=1)
    across = int(column.max()) + 1
    down = int(row.max()) + 1
    return ((crop * down + row) * across + column).unique(return_inverse=True)[1]


def share_seats(share: Tensor, total: int) -> Tensor:
    """Whole numbers in proportion to `share` [Z] that add up to `total`, by the largest remainder.

    Of equal remainders the first group's is larger. -> [Z] long.
    """
    quota = total * share.float() / share.float().sum()
    # a quota just below a whole number has the largest remainder, so its last bit does not matter
    seats = quota.floor()

    left = total - seats.sum()
    order = (quota - seats).argsort(descending=True, stable=True)
    return (seats + (_place_in(order) < left)).long()


def select_by_group(
    score: Tensor,
    group: Tensor,
    seats: Tensor,
    priority: Tensor,
    k: int,
    reserve: Tensor | None = None,
) -> Tensor:
    """The `k` tokens that fill the seats of their groups, the best of each, ascending. -> [k] long.

    Seats that a group is too small for go to the others, one at a time, round by round, the group
    of the highest priority first. Of equal scores and priorities the lower index counts.

    Args:
        score: [n], larger is better.
        group: long [n].
        seats: long [Z], at most `k` in all.
        priority: [Z].
        k: at most n.
        reserve: bool [n], tokens that score lowest in their group and get a seat only when all
            others have one; None for none.
    """
    rank = rank_in_group(score, group)
    # 0 for a token that has a seat, then 1, 2, ... for the rounds in which it would get one
    late = (rank - seats[group] + 1).clamp(min=0)

    turn = _place_in(rankable(priority).argsort(descending=True, stable=True))
    order = late * len(seats) + turn[group].masked_fill(late == 0, 0)
    if reserve is not None:
        # behind the last round of all others
        order = order + reserve * (len(score) + 1) * len(seats)

    return order.argsort(stable=True)[:k].sort().values


def rank_in_group(score: Tensor, group: Tensor) -> Tensor:
    """0 for the best token of its group, 1 for the next, ... score, group [n] -> [n] long."""
    ranked = rankable(score).argsort(descending=True, stable=True)
    grouped = ranked[group[ranked].argsort(stable=True)]

    # a rank counts from the first token of its group
    of_group = group[grouped].contiguous()
    starts = torch.searchsorted(of_group, of_group)
    rank = torch.empty_like(ranked)
    rank[grouped] = torch.arange(len(ranked), device=ranked.device) - starts
    return rank


def rescale_by_group(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Values moved to 0..1 within their group; 0 where all are equal. [N] -> [N] fp32."""
    values = values.float()
    low = values.new_full((groups,), float("inf")).scatter_reduce(0, group, values, "amin")
    high = values.new_full((groups,), float("-inf")).scatter_reduce(0, group, values, "amax")
    spread = (high - low)[group].clamp(min=LEAST_SPREAD)
    return (values - low[group]) / spread


def _place_in(order: Tensor) -> Tensor:
    """The inverse of a permutation. [n] -> [n] long."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return place
