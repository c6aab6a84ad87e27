"""Choose tokens from scores and distances. Plain tensors in, indices out; no model anywhere.

Every function is deterministic: ties go to the lower index, and values that are not numbers rank
last. Shapes: N candidates, k chosen, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # of as many bytes as a float


def select_top(score: Tensor, k: int) -> Tensor:
    """Indices of the `k` largest scores, ascending. [..., N] -> [..., k] long."""
    ranked = torch.argsort(rankable(score), dim=-1, descending=True, stable=True)
    return ranked[..., :k].sort(dim=-1).values


def rankable(score: Tensor) -> Tensor:
    """Scores in fp32 that sort the same way every time: all that is not finite is lowest.

    [..., N] -> [..., N].
    """
    lowest = float("-inf")
    return torch.nan_to_num(score.float(), nan=lowest, posinf=lowest, neginf=lowest)


def others(n: int, keep: Tensor) -> Tensor:
    """The indices of `range(n)` that are not in `keep`, ascending. [K] -> [n - K] long."""
    free = torch.ones(n, dtype=torch.bool, device=keep.device)
    return free.index_fill(0, keep, False).nonzero().flatten()


def select_even(n: int, k: int, device: torch.device | str = "cpu") -> Tensor:
    """`k` indices spread evenly over `range(n)`, each in the middle of its share. -> [k] long."""
    return (2 * torch.arange(k, device=device) + 1) * n // (2 * k)


def select_diverse(distance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Pick the most isolated token first, then always the one farthest from all picked ones.

    Args:
        distance: [N, N], symmetric, larger means farther apart.
        k: how many to take, at most N.

    Returns:
        Indices in the order of picking [k] long (never one twice, also among exact duplicates), and
        for every token its distance to the set at the time it was picked, or to the final set if it
        was not. [N] float32.

    Source: the max-min formulation of Alvar et al., DivPrune, CVPR 2025, section 3.
    """
    n = distance.shape[0]
    lowest = torch.finfo(torch.float32).min
    unknown = ~distance.isfinite()

    # the first gap is the distance to the nearest other token; a single token has none
    itself = torch.eye(n, dtype=torch.bool, device=distance.device)
    to_other = distance.float().masked_fill(unknown | itself, float("inf"))
    if n > 1:
        gap = rankable(to_other.amin(dim=1)).clamp(min=lowest)  # [N, N] -> [N]
    else:
        gap = to_other.new_zeros(1)

    # an unknown distance ranks after every known one, yet before the -inf of a taken token
    distance = distance.float().masked_fill(unknown, lowest)
    to_set = torch.full_like(gap, float("inf"))
    value = torch.empty_like(gap)
    picks = torch.empty(k, dtype=torch.long, device=distance.device)

    for step in range(k):
        pick = gap.argmax()
        picks[step] = pick
        value[pick] = gap[pick]

        to_set = torch.minimum(to_set, distance[pick])
        to_set[pick] = float("-inf")  # taken
        gap = to_set

    return picks, torch.where(to_set.isneginf(), value, to_set)


def select_spread(score: Tensor, group: Tensor, k: int, most: int) -> Tensor:
    """The `k` largest scores with at most `most` out of any one group.

    Fewer if the groups give no more. score [N], group [N] long -> ascending long.
    """
    ranked = rankable(score).argsort(descending=True, stable=True)

    # group by group, the best first; a rank counts from the first token of its group
    grouped = ranked[group[ranked].argsort(stable=True)]
    group_of = group[grouped].contiguous()
    starts = torch.searchsorted(group_of, group_of)
    rank = torch.empty_like(ranked)
    rank[grouped] = torch.arange(len(ranked), device=ranked.device) - starts

    return ranked[rank[ranked] < most][:k].sort().values


def select_dpp(kernel: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Greedy MAP inference of a determinantal point process.

    Each step adds the token that raises the determinant most.

    Args:
        kernel: [N, N], symmetric, positive semi-definite.
        k: how many to take, at most N.

    Returns:
        Indices in the order of picking [k] long, and for every token its gain when it was picked,
        or at the end if it was not. [N] float32. Beyond the rank of the kernel no token gains
        anything; the rest follow by index, and none is taken twice.

    Source: Chen et al., NeurIPS 2018, algorithm 1, as used by CDPruner.
    """
    kernel = kernel.to(_widest(kernel.device))
    kernel = torch.nan_to_num(kernel, nan=0.0, posinf=0.0, neginf=0.0)

    gain = kernel.diagonal().clone()
    floor = 1e-6 * gain  # a gain below this is rounding of the features, not a new direction
    value = gain.clone()
    directions = kernel.new_zeros(k, len(kernel))
    taken = torch.zeros(len(kernel), dtype=torch.bool, device=kernel.device)
    picks = torch.empty(k, dtype=torch.long, device=kernel.device)

    for step in range(k):
        pick = gain.masked_fill(taken, -1).argmax()
        picks[step] = pick
        value[pick] = gain[pick]
        taken[pick] = True

        # one row of the incremental Cholesky factor: the kernel row without the earlier directions
        scale = torch.where(gain[pick] > 0, gain[pick].clamp(min=1e-300).rsqrt(), 0.0)
        earlier = directions[:step, pick] @ directions[:step]
        directions[step] = (kernel[pick] - earlier) * scale

        gain = gain - directions[step].square()
        gain = torch.where(gain > floor, gain, 0.0)

    return picks, torch.where(taken, value, gain).float()


def cosine_matrix(features: Tensor, targets: Tensor | None = None) -> Tensor:
    """Cosine of every row with every row of `targets` [M, D], by default its own, fp32.

    [N, D] -> [N, M].
    """
    unit = normalize(features.float(), dim=-1)
    if targets is None:
        return unit @ unit.T

    return unit @ normalize(targets.float(), dim=-1).T


def assign_nearest(metric: Tensor, targets: Tensor) -> Tensor:
    """For each row of `metric` [M, d] the index of the most similar row of `targets` [T, d].

    Similarity is the cosine. -> [M] long.

    In double, then rounded: a matrix product does not give equal columns equal last bits, and ties
    must stay ties.
    """
    wide = _widest(metric.device)
    rows = normalize(metric.to(wide), dim=-1)
    columns = normalize(targets.to(wide), dim=-1)

    similarity = rows @ columns.T  # [M, T]
    return similarity.float().argmax(dim=-1)


def count_nearest(features: Tensor, keep: Tensor) -> Tensor:
    """The number of rows each kept row stands for. features [N, D], keep [K] -> [K] long.

    A kept row stands for itself and for the dropped rows nearest to it by cosine.
    """
    dropped = others(len(features), keep)
    group = assign_nearest(features[dropped], features[keep])
    return 1 + torch.bincount(group, minlength=len(keep))


def group_mean(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of the rows of `values` [M, D] in each of `groups` groups; zeros for an empty one.

    -> [groups, D] fp32.
    """
    values = values.float()  # a sum of many half-precision rows may overflow
    total = values.new_zeros(groups, values.shape[-1]).index_add_(0, group, values)

    size = torch.bincount(group, minlength=groups).clamp(min=1)
    return total / size[:, None]


def normalise_sum(score: Tensor) -> Tensor:
    """Scores divided by their sum, so that two kinds of evidence can be added. [..., N].

    Source: TransPrune, section 3.3.
    """
    score = score.float()
    return score / (score.sum(dim=-1, keepdim=True) + 1e-8)


def match_bipartite(metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The `r` most similar pairs of a token at an even place with one at an odd place.

    [n, d] -> even [r'], odd [r'] long. Every even token has one partner, so at most half of the
    tokens are merged. Ties go to the lower index.

    Source: bipartite soft matching, Bolya et al., ToMe, ICLR 2023, section 3.
    """
    even = torch.arange(0, len(metric), 2).to(metric.device)
    odd = torch.arange(1, len(metric), 2).to(metric.device)
    if len(odd) == 0:
        return even[:0], odd

    similarity = cosine_matrix(metric[even], metric[odd])  # [n / 2, n / 2]
    best, partner = similarity.max(dim=1)

    # of an odd number of tokens the evens are one more: still no more pairs than odd tokens
    chosen = best.argsort(descending=True, stable=True)[: min(r, len(odd))]
    return even[chosen], odd[partner[chosen]]


def match_rows(rows: Tensor, source: Tensor) -> Tensor:
    """For each row an identical row of `source`, -1 where there is none.

    [N, D], [R, D] -> [N] long. The k-th of several identical rows gets the k-th identical row of
    `source`, beginning anew where `source` has fewer: a still video, the same picture twice and a
    page of one colour have such rows, and each of them is a patch of its own.

    Bit-exact: rows are compared by an integer hash of their bits. So the patch behind a visual
    token is found however a family crops, reorders, repeats or interleaves patches on their way
    into the prompt.
    """
    if len(source) == 0:
        return torch.full((len(rows),), -1, dtype=torch.long, device=rows.device)

    source_hash, order = _hash_rows(source.to(rows.dtype)).sort(stable=True)
    row_hash = _hash_rows(rows)

    first = torch.searchsorted(source_hash, row_hash)
    copies = torch.searchsorted(source_hash, row_hash, right=True) - first
    place = first + _rank_among_equals(row_hash) % copies.clamp(min=1)
    return torch.where(copies > 0, order[place.clamp(max=len(source) - 1)], -1)


def _rank_among_equals(values: Tensor) -> Tensor:
    """How many equal values stand in front of each. [N] -> [N] long."""
    ordered, order = values.sort(stable=True)
    starts = torch.searchsorted(ordered, ordered)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(values), dtype=torch.long, device=values.device) - starts
    return rank


def same_rows(rows: Tensor, others: Tensor) -> Tensor:
    """Which rows are identical to the bit. [N, D], [N, D] of one dtype -> bool [N]."""
    integer = _INTEGERS[rows.element_size()]
    return (rows.contiguous().view(integer) == others.contiguous().view(integer)).all(dim=-1)


def _hash_rows(rows: Tensor) -> Tensor:
    """A 64-bit hash of the bits of each row. [N, D] -> [N] long."""
    bits = rows.contiguous().view(_INTEGERS[rows.element_size()]).long()

    # seeded by the width: the same rows have the same hash in every call
    generator = torch.Generator().manual_seed(rows.shape[-1])
    weights = torch.randint(1, 2**62, (rows.shape[-1],), generator=generator) | 1
    return (bits * weights.to(rows.device)).sum(dim=-1)  # wraps around, on purpose


def _widest(device: torch.device) -> torch.dtype:
    """The widest float of a device: Apple's GPUs have no double."""
    return torch.float32 if device.type == "mps" else torch.float64
