"""Choose tokens from scores and distances. Plain tensors in, indices out; no model anywhere.

Every function is deterministic: ties go to the lower index, and values that are not numbers rank
last. Nothing here waits for the device: how many are chosen follows from shapes, and a 0-d tensor
is never an index. Shapes: N candidates, k chosen, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from transprune.core.rows import upload


def select_top(score: Tensor, k: int) -> Tensor:
    """Indices of the `k` largest of each `score`, ascending. [..., N] -> [..., k] long."""
    ranked = torch.argsort(rankable(score), dim=-1, descending=True, stable=True)
    return ranked[..., :k].sort(dim=-1).values


def rankable(score: Tensor) -> Tensor:
    """Scores in fp32 that sort the same way every time: all that is not finite is lowest.

    [..., N] -> [..., N].
    """
    lowest = float("-inf")
    return torch.nan_to_num(score.float(), nan=lowest, posinf=lowest, neginf=lowest)


def others(n: int, keep: Tensor) -> Tensor:
    """The indices of `range(n)` that are not in `keep`, ascending. [K] -> [n - K] long.

    `keep` has no index twice.
    """
    taken = keep.new_zeros(n, dtype=torch.bool).index_fill(0, keep, True)
    return unset(taken, n - len(keep))


def unset(flags: Tensor, count: int) -> Tensor:
    """The places of the `count` flags that are not set, ascending. bool [n] -> [count] long."""
    return flags.to(torch.uint8).argsort(stable=True)[:count]


def count_members(group: Tensor, groups: int) -> Tensor:
    """The size of each group. long [n] -> long [groups]."""
    # `bincount` reads the smallest number before it counts
    return torch.zeros(groups, dtype=torch.long, device=group.device).index_add_(
        0, group, torch.ones_like(group)
    )


def select_even(n: int, k: int, device: torch.device | str = "cpu") -> Tensor:
    """`k` indices spread evenly over `range(n)`, each in the middle of its share.

    -> [k] long, on `device`.
    """
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
        pick = gap.argmax(dim=0, keepdim=True)  # [1]
        picks[step : step + 1] = pick
        value.index_copy_(0, pick, gap[pick])

        to_set = torch.minimum(to_set, distance[pick][0])
        to_set.index_fill_(0, pick, float("-inf"))  # taken
        gap = to_set

    return picks, torch.where(to_set.isneginf(), value, to_set)


def select_spread(score: Tensor, group: Tensor, k: int, most: int) -> Tensor:
    """The `k` largest scores with at most `most` out of any one group.

    Fewer if the groups give no more. score [N], group [N] long, on the host -> ascending long.
    """
    sizes = group.bincount().clamp(max=most)
    count = min(k, int(sizes.sum()))
    group = upload(group.numpy(force=True), score.device)
    ranked = rankable(score).argsort(descending=True, stable=True)

    # group by group, the best first; a rank counts from the first token of its group
    grouped = ranked[group[ranked].argsort(stable=True)]
    group_of = group[grouped].contiguous()
    starts = torch.searchsorted(group_of, group_of)
    rank = torch.empty_like(ranked)
    rank[grouped] = torch.arange(len(ranked), device=ranked.device) - starts

    return ranked[unset(rank[ranked] >= most, count)].sort().values


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
        pick = gain.masked_fill(taken, -1).argmax(dim=0, keepdim=True)  # [1]
        own = gain[pick]
        picks[step : step + 1] = pick
        value.index_copy_(0, pick, own)
        taken.index_fill_(0, pick, True)

        # one row of the incremental Cholesky factor: the kernel row without the earlier directions
        scale = torch.where(own > 0, own.clamp(min=1e-300).rsqrt(), 0.0)
        earlier = directions[:step, pick][:, 0] @ directions[:step]
        directions[step] = (kernel[pick][0] - earlier) * scale

        gain = gain - directions[step].square()
        gain = torch.where(gain > floor, gain, 0.0)

    return picks, torch.where(taken, value, gain).float()


def cosine_matrix(features: Tensor, targets: Tensor | None = None) -> Tensor:
    """Cosine of every row of `features` with every row of `targets`, by default its own, fp32.

    [N, D], [M, D] -> [N, M].
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
    return 1 + count_members(group, len(keep))


def group_mean(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of the rows of `values` [M, D] in each of `groups` groups; zeros for an empty one.

    `group` says which one each row is in, long [M]. -> [groups, D] fp32.
    """
    values = values.float()  # a sum of many half-precision rows may overflow
    total = values.new_zeros(groups, values.shape[-1]).index_add_(0, group, values)

    size = count_members(group, groups).clamp(min=1)
    return total / size[:, None]


def normalise_sum(score: Tensor) -> Tensor:
    """Scores divided by their sum, so that two kinds of evidence can be added. fp32 [..., N].

    Source: TransPrune, section 3.3.
    """
    score = score.float()
    return score / (score.sum(dim=-1, keepdim=True) + 1e-8)


def match_bipartite(metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The `r` most similar pairs of a token at an even place with one at an odd place.

    `metric` [N, D] -> even [r'], odd [r'] long. Every even token has one partner, so at most half of
    the tokens are merged. Ties go to the lower index.

    Source: bipartite soft matching, Bolya et al., ToMe, ICLR 2023, section 3.
    """
    even = torch.arange(0, len(metric), 2, device=metric.device)
    odd = torch.arange(1, len(metric), 2, device=metric.device)
    if len(odd) == 0:
        return even[:0], odd

    similarity = cosine_matrix(metric[even], metric[odd])  # [n / 2, n / 2]
    best, partner = similarity.max(dim=1)

    # of an odd number of tokens the evens are one more: still no more pairs than odd tokens
    chosen = best.argsort(descending=True, stable=True)[: min(r, len(odd))]
    return even[chosen], odd[partner[chosen]]


def _widest(device: torch.device) -> torch.dtype:
    """The widest float of a device: Apple's GPUs have no double."""
    return torch.float32 if device.type == "mps" else torch.float64
