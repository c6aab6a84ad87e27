"""Cluster visual tokens by density. Plain tensors in, centres and groups out; no model anywhere.

Shapes: n tokens, C clusters, D width. Ties go to the lower index unless the caller wants the other,
and distances that are not numbers count as far away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transprune.algebra.select import select_top, unset

ROUNDS = 8  # of `cover`: the demo pictures need two to four on the bundled model


def density_peaks(
    features: Tensor, clusters: int, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Choose centres that are dense and far from anything denser; every token joins the nearest.

    Density is `exp(-mean of the squared distances to the C nearest, itself included)`, distance is
    L2 / sqrt(D); the densest token counts as the largest distance from anything denser. Of two
    equally dense ones the first is denser.

    Args:
        features: [n, D].
        clusters: C, 1..n.
        noise: [n], added to the density (it decides between equals), or None.

    Returns:
        Centres, ascending [C] long, and the number of each token's cluster [n] long.

    Source: DPC-KNN as SparseVLM uses it to recycle tokens (arXiv 2410.04417, section 3.3, and its
    code).
    """
    # not by a matrix product: equal rows must be at distance 0 exactly
    features = features.float()
    distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    distance = _finite(distance / math.sqrt(features.shape[-1]))  # [n, n]

    nearest = distance.topk(clusters, dim=1, largest=False).values
    density = (-nearest.square().mean(dim=1)).exp()  # [n, C] -> [n]
    if noise is not None:
        density = density + noise

    # the distance to the nearest denser token
    rank = _rank(density)
    denser = rank[None, :] < rank[:, None]
    gap = torch.where(denser, distance, distance.max()).amin(dim=1)  # [n, n] -> [n]

    centres = select_top(gap * density, clusters)
    return centres, _join(distance, centres)


@dataclass(frozen=True)
class Cover:
    """Centres and members by place, on the device. Shapes: n tokens.

    Attributes:
        centre: bool [n], which tokens are centres.
        nearest: long [n], the place of each token's nearest centre; a centre's own place.
        unfinished: long [], tokens that the rounds have not reached; 0 if the cover is complete.
    """

    centre: Tensor
    nearest: Tensor
    unfinished: Tensor

    def numbered(self, count: int) -> tuple[Tensor, Tensor]:
        """The `count` centres, ascending [C] long, and each token's number among them [n] long."""
        number = self.centre.long().cumsum(dim=0) - 1
        return unset(~self.centre, count), number[self.nearest]


def cover(
    distance: Tensor, cutoff: float, last_of_equals: bool = False, rounds: int = ROUNDS
) -> Cover:
    """Cover all tokens: the densest token that no centre covers yet becomes the next centre.

    A centre covers all tokens nearer than `cutoff`. The number of clusters comes out of the data.
    Density is `sum(exp(-(distance / 2)^2))` over all tokens.

    Args:
        distance: [n, n], symmetric.
        cutoff: covers nothing but the token itself at 0.
        last_of_equals: of equally dense tokens the last counts as the densest, else the first.
        rounds: the most that are made. Whether they were enough only the device knows
            (`unfinished`), and `n` always are.

    Source: the distance bounded density peak clustering of PACT (arXiv 2504.08966, algorithm 2, and
    its code).
    """
    distance = _finite(distance.float())
    density = (-(distance / 2).square()).exp().sum(dim=1)  # [n, n] -> [n]

    rank = _rank(density, last_of_equals)
    near = distance < cutoff
    before = near & (rank[None, :] < rank[:, None])
    free = torch.ones_like(rank, dtype=torch.bool)
    centre = torch.zeros_like(free)

    # every token without a denser free neighbour becomes a centre in the same round: this finds the
    # same centres as taking them one after another, in far fewer rounds. A round that finds no free
    # token changes nothing
    for _ in range(min(rounds, len(rank))):
        new = free & ~(before & free).any(dim=1)
        centre = centre | new
        free = free & ~new & ~(near & new).any(dim=1)

    nearest = distance.masked_fill(~centre, float("inf")).argmin(dim=1)
    # two centres may be at distance 0 of each other
    own = torch.arange(len(rank), device=rank.device)
    return Cover(centre, torch.where(centre, own, nearest), free.sum())


def _rank(density: Tensor, last_of_equals: bool = False) -> Tensor:
    """0 for the densest token, 1 for the next, ...; of equals the first one is first, or the last.

    [n] -> [n] long.
    """
    if last_of_equals:
        return _rank(density.flip(0)).flip(0)

    return torch.argsort(torch.argsort(density, descending=True, stable=True))


def _join(distance: Tensor, centres: Tensor) -> Tensor:
    """The number of each token's nearest centre; a centre belongs to itself. [n, n] -> [n] long."""
    group = distance[:, centres].argmin(dim=1)

    # two centres may be at distance 0 of each other
    group[centres] = torch.arange(len(centres), device=centres.device)
    return group


def _finite(distance: Tensor) -> Tensor:
    """Distances with a large number in place of every value that is not finite."""
    far = torch.finfo(distance.dtype).max ** 0.25  # its square must stay a number
    return torch.where(distance.isfinite(), distance, far).clamp(max=far)
