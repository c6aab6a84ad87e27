"""Facility location: choose the tokens that cover all others best. Tensors in, indices out.

Shapes: N tokens, k chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transprune.algebra.select import rankable

FLOOR = 1e-6  # a smaller gain is rounding of the similarities


def select_coverage(similarity: Tensor, weight: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Greedy facility location with weights.

    A set covers a token as well as its most similar member; the next pick is the token for which
    the sum over all tokens of what it adds to that, times its own weight, is largest.

    Args:
        similarity: [N, N], symmetric; a token that nothing covers yet counts as covered by 0.
        weight: [N], not negative.
        k: how many to take, at most N.

    Returns:
        Indices in the order of picking [k] long, none twice, and for every token its weighted gain
        when it was picked, or at the end if it was not. [N] float32. Once nothing is gained the
        rest follow by weight, of equal weights the lower index first.

    Source: SCOPE (Deng et al., NeurIPS 2025, arXiv 2510.24214), from its formula; the greedy search
    for facility location is Nemhauser et al., 1978.
    """
    similarity = torch.nan_to_num(similarity.float(), nan=0.0, posinf=0.0, neginf=0.0)
    weight = rankable(weight).clamp(min=0)
    covered = torch.zeros_like(weight)
    taken = torch.zeros_like(weight, dtype=torch.bool)
    value = torch.zeros_like(weight)
    picks = torch.empty(k, dtype=torch.long, device=weight.device)

    for step in range(k):
        gain = _gain(similarity, covered) * weight
        # where nothing is gained any more the weights rank, below every gain
        rank = torch.where(gain > 0, gain, weight - weight.amax() - 1)
        pick = rank.masked_fill(taken, float("-inf")).argmax(dim=0, keepdim=True)  # [1]

        picks[step : step + 1] = pick
        value.index_copy_(0, pick, gain[pick])
        taken.index_fill_(0, pick, True)
        covered = torch.maximum(covered, similarity[pick][0])

    return picks, torch.where(taken, value, _gain(similarity, covered) * weight)


def _gain(similarity: Tensor, covered: Tensor) -> Tensor:
    """How much every token would add to the coverage of all. [N, N], [N] -> [N]."""
    more = similarity - covered[:, None]
    return torch.threshold_(more, FLOOR, 0.0).sum(dim=0)
