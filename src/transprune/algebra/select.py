"""Index algebra: choosing tokens from scores and distances. Plain tensors in, sorted indices out, no model anywhere.

Every function is deterministic: ties go to the lower index, and values that are not numbers rank last.
Shapes: N candidates, k chosen, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def select_top(score: Tensor, k: int) -> Tensor:
    """Indices of the `k` largest scores, ascending. [N] -> [k] long."""
    ranked = torch.argsort(rankable(score), descending=True, stable=True)
    return ranked[:k].sort().values


def rankable(score: Tensor) -> Tensor:
    """fp32 scores that sort the same way every time: anything that is not finite counts as the lowest. [N] -> [N]."""
    score = score.float()
    return torch.where(score.isfinite(), score, torch.full_like(score, float("-inf")))


def select_even(n: int, k: int, device: torch.device | str = "cpu") -> Tensor:
    """`k` indices spread evenly over `range(n)`, each in the middle of its share. -> [k] long."""
    return (2 * torch.arange(k, device=device) + 1) * n // (2 * k)


def select_diverse(distance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Greedy max-min diversity: start with the most isolated token, then always add the one farthest from the set.

    Args:
        distance: [N, N], symmetric, larger means farther apart.
        k: how many to take, at most N.

    Returns:
        Indices in the order of picking [k] long (never one twice, also among exact duplicates), and for every token
        its distance to the set at the time it was picked, or to the final set if it was not. [N] float32.

    Source: the max-min formulation of Alvar et al., DivPrune, CVPR 2025, section 3.
    """
    n, lowest = distance.shape[0], torch.finfo(torch.float32).min
    unknown = ~distance.isfinite()
    itself = torch.eye(n, dtype=torch.bool, device=distance.device)
    others = distance.float().masked_fill(unknown | itself, float("inf"))
    gap = rankable(others.amin(dim=1)).clamp(min=lowest) if n > 1 else others.new_zeros(1)
    distance = distance.float().masked_fill(
        unknown, lowest
    )  # what is no number ranks last, yet before what is taken
    value, to_set = torch.empty_like(gap), torch.full_like(gap, float("inf"))
    picks = torch.empty(k, dtype=torch.long, device=distance.device)
    for step in range(k):
        pick = gap.argmax()
        picks[step], value[pick] = pick, gap[pick]
        gap = to_set = torch.minimum(to_set, distance[pick])
        to_set[pick] = float("-inf")  # taken
    return picks, torch.where(to_set.isneginf(), value, to_set)


def cosine_matrix(features: Tensor, others: Tensor | None = None) -> Tensor:
    """Cosine of every row with every row of `others` [M, D], by default its own, fp32. [N, D] -> [N, M]."""
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    return (
        unit @ (unit if others is None else torch.nn.functional.normalize(others.float(), dim=-1)).T
    )


def assign_nearest(metric: Tensor, targets: Tensor) -> Tensor:
    """For each row of `metric` [M, d] the index of the most similar row of `targets` [T, d] by cosine. -> [M] long.

    In double, then rounded: a matrix product does not give equal columns equal last bits, and ties must stay ties.
    """
    wide = (
        torch.float32 if metric.device.type == "mps" else torch.float64
    )  # Apple's GPUs have no double
    unit = torch.nn.functional.normalize
    similarity = unit(metric.to(wide), dim=-1) @ unit(targets.to(wide), dim=-1).T
    return similarity.float().argmax(dim=-1)


def count_nearest(features: Tensor, keep: Tensor) -> Tensor:
    """How many rows each kept one stands for: itself, and the dropped ones nearest to it by cosine. -> [K] long."""
    dropped = torch.ones(len(features), dtype=torch.bool, device=keep.device).index_fill(
        0, keep, False
    )
    group = assign_nearest(features[dropped], features[keep])
    return 1 + torch.bincount(group, minlength=len(keep))


def group_mean(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of the rows of `values` [M, D] in each of `groups` groups; zeros for an empty one. -> [groups, D] fp32."""
    values = values.float()  # a sum of many half-precision rows may overflow
    total = values.new_zeros(groups, values.shape[-1]).index_add_(0, group, values)
    return total / torch.bincount(group, minlength=groups).clamp(min=1)[:, None]


def normalise_sum(score: Tensor) -> Tensor:
    """Scores divided by their sum, so that two kinds of evidence can be added (TransPrune, section 3.3). [N] -> [N]."""
    score = score.float()
    return score / (score.sum() + 1e-8)


def match_rows(rows: Tensor, source: Tensor) -> Tensor:
    """For each row the first identical row of `source`, -1 where there is none. [N, D], [R, D] -> [N] long.

    Bit-exact: rows are compared by an integer hash of their bits. This tells which patch a visual token came from,
    however a family crops, reorders, repeats or interleaves them on the way into the prompt.
    """
    if len(source) == 0:
        return torch.full((len(rows),), -1, dtype=torch.long, device=rows.device)
    source_hash, order = _hash_rows(source.to(rows.dtype)).sort(stable=True)
    row_hash = _hash_rows(rows)
    place = torch.searchsorted(source_hash, row_hash).clamp(max=len(source) - 1)
    return torch.where(source_hash[place] == row_hash, order[place], -1)


def _hash_rows(rows: Tensor) -> Tensor:
    bits = (
        rows.contiguous()
        .view({2: torch.int16, 4: torch.int32, 8: torch.int64}[rows.element_size()])
        .long()
    )
    generator = torch.Generator().manual_seed(rows.shape[-1])
    weights = torch.randint(1, 2**62, (rows.shape[-1],), generator=generator) | 1
    return (bits * weights.to(rows.device)).sum(dim=-1)  # wraps around, on purpose


def match_bipartite(metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The up to `r` most similar pairs of a token at an even place with one at an odd place. [n, d] -> [r'], [r'] long.

    Every even token has one partner, so at most half of the tokens are merged. Ties go to the lower index.

    Source: bipartite soft matching, Bolya et al., ToMe, ICLR 2023, section 3.
    """
    even, odd = torch.arange(0, len(metric), 2), torch.arange(1, len(metric), 2)
    even, odd = even.to(metric.device), odd.to(metric.device)
    if len(odd) == 0:
        return even[:0], odd
    similarity = cosine_matrix(metric[even], metric[odd])
    best, partner = similarity.max(dim=1)
    chosen = best.argsort(descending=True, stable=True)[: min(r, len(odd))]
    return even[chosen], odd[partner[chosen]]


def select_spread(score: Tensor, group: Tensor, k: int, most: int) -> Tensor:
    """The `k` largest scores with at most `most` out of any one group; fewer if the groups give no more.

    score [N], group [N] long -> sorted indices. `k = most * groups` is a top-`most` in every group.
    """
    ranked = rankable(score).argsort(descending=True, stable=True)
    grouped = ranked[group[ranked].argsort(stable=True)]  # group by group, best first
    starts = torch.searchsorted(group[grouped].contiguous(), group[grouped].contiguous())
    rank = torch.empty_like(ranked)
    rank[grouped] = torch.arange(len(ranked), device=ranked.device) - starts
    return ranked[rank[ranked] < most][:k].sort().values


def select_dpp(kernel: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Greedy MAP inference of a determinantal point process: always add the token that raises the determinant most.

    Args:
        kernel: [N, N], symmetric, positive semi-definite.
        k: how many to take, at most N.

    Returns:
        Indices in the order of picking [k] long, and for every token its gain when it was picked, or at the end if it
        was not. [N] float32. Beyond the rank of the kernel no token gains anything; the rest follow by index, and none
        is taken twice.

    Source: Chen et al., NeurIPS 2018, algorithm 1, as used by CDPruner.
    """
    wide = (
        torch.float32 if kernel.device.type == "mps" else torch.float64
    )  # Apple's GPUs have no double
    kernel = torch.nan_to_num(kernel.to(wide), nan=0.0, posinf=0.0, neginf=0.0)
    gain = kernel.diagonal().clone()
    floor = (
        1e-6 * gain
    )  # what is left of a token below it is the rounding of its features, not a new direction
    directions = kernel.new_zeros(k, len(kernel))
    picks, value = torch.empty(k, dtype=torch.long, device=kernel.device), gain.clone()
    taken = torch.zeros(len(kernel), dtype=torch.bool, device=kernel.device)
    for step in range(k):
        pick = gain.masked_fill(taken, -1).argmax()
        picks[step], value[pick], taken[pick] = pick, gain[pick], True
        scale = torch.where(gain[pick] > 0, gain[pick].clamp(min=1e-300).rsqrt(), 0.0)
        directions[step] = (kernel[pick] - directions[:step, pick] @ directions[:step]) * scale
        gain = gain - directions[step].square()
        gain = torch.where(gain > floor, gain, 0.0)
    return picks, torch.where(taken, value, gain).float()
