"""Which tiles to look at next: the best visual tokens vote for the tile that shows them.

LRS-VQA (Luo et al., ICCV 2025, https://arxiv.org/abs/2503.07588): the best quarter of the tokens of
one level is mapped to the tiles of the next one, and tiles are taken by the number of these hits.
Tiles can be ranked in two more ways, because a small thing is a hit or two among hundreds. Pure
functions on plain tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from transprune.algebra.select import select_top
from transprune.tiles.pyramid import Level, Tile


@dataclass(frozen=True)
class Votes:
    """What one look says about a tile.

    Attributes:
        tile: the tile.
        hits: tokens of the best share that lie in it.
        total: sum of their scores.
        peak: the highest of them.
    """

    tile: Tile
    hits: int
    total: float
    peak: float


Rank = Literal["hits", "sum", "peak"]
RANKS: tuple[str, ...] = get_args(Rank)

# larger first; of tiles that are equal in this the higher sum, then the earlier tile
_ORDER: dict[str, Callable[[Votes], float]] = {
    "hits": lambda votes: votes.hits,
    "sum": lambda votes: votes.total,
    "peak": lambda votes: votes.peak,
}


def count_votes(
    scores: Tensor, points: Tensor, level: Level, share: float, rank: Rank
) -> list[Votes]:
    """Map the best tokens to the tiles of a level.

    Args:
        scores: float [N], one per visual token; larger means that the question is about it.
        points: float [N, 2], where each token lies, x and y in pixels of the picture itself; NaN
            for tokens without a place (newlines, padding), which take no part.
        level: whose tiles are voted for.
        share: of the tokens with a place that vote, 0 < share <= 1; at least one does.
        rank: what tiles are ordered by.

    Returns:
        Every tile with a vote, the best first; ties to the higher sum, then in raster order.
    """
    placed = ~points.isnan().any(dim=1)
    scores = scores[placed]
    points = points[placed]
    if not len(scores):
        return []

    best = select_top(scores, max(1, int(len(scores) * share)))
    given: dict[Tile, list[float]] = {}
    for score, (x, y) in zip(scores[best].tolist(), points[best].tolist(), strict=True):
        given.setdefault(level.tile_at(x, y), []).append(score)

    votes = [Votes(tile, len(own), sum(own), max(own)) for tile, own in given.items()]
    first = _ORDER[rank]
    return sorted(votes, key=lambda vote: (-first(vote), -vote.total, vote.tile))


def token_points(level: Level, tile: Tile, rows: int, columns: int) -> Tensor:
    """Centres of a tile's tokens in pixels of the picture itself. -> float64 [rows * columns, 2].

    NaN for tokens in the padding of a tile that reaches beyond the picture.
    """
    width, height = level.content(tile)
    y, x = torch.meshgrid(
        _centres(level.side, rows, height), _centres(level.side, columns, width), indexing="ij"
    )
    points = torch.stack((x.flatten(), y.flatten()), dim=1)
    inside = (points[:, 0] < width) & (points[:, 1] < height)
    points[~inside] = torch.nan

    # from pixels of the tile to pixels of the level, then of the picture
    corner = torch.tensor((tile.column * level.side, tile.row * level.side), dtype=torch.float64)
    source = torch.tensor(level.source, dtype=torch.float64)
    size = torch.tensor(level.size, dtype=torch.float64)
    return (points + corner) * source / size


def _centres(side: int, tokens: int, content: int) -> Tensor:
    """Centres of the tokens along a side of a tile, of which `content` pixels show the picture.

    -> float64 [tokens].
    """
    centres = (torch.arange(tokens, dtype=torch.float64) + 0.5) * side / tokens
    # the first one shows the picture, however narrow it is there
    if content <= float(centres[0]):
        centres[0] = content / 2
    return centres
