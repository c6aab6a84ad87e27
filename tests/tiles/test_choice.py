"""Votes of tokens for tiles, by hand, with the traps of the released code."""

from __future__ import annotations

import math

import pytest
import torch

from transprune.tiles.choice import count_votes, token_points
from transprune.tiles.pyramid import Level, Tile

# a picture of 100 pixels with four tiles, and one with a padded edge
NEXT = Level((100, 100), (20, 20), 10)
PADDED = Level((100, 100), (15, 15), 10)


def places(*points):
    return torch.tensor(points, dtype=torch.float64)


def tiles_of(votes):
    return [(vote.tile.row, vote.tile.column) for vote in votes]


def test_the_best_quarter_votes():
    scores = torch.tensor([8.0, 7.0, 1, 1, 1, 1, 1, 1])
    points = places((75, 25), (75, 75), *[(10, 10)] * 6)
    votes = count_votes(scores, points, NEXT, 0.25, "hits")
    assert tiles_of(votes) == [(0, 1), (1, 1)]
    assert [(vote.hits, vote.total, vote.peak) for vote in votes] == [(1, 8, 8), (1, 7, 7)]


def test_a_token_votes_for_the_tile_that_shows_its_centre():
    points = places((49.9, 0), (50, 0), (0, 50), (100, 100))
    votes = count_votes(torch.ones(4), points, NEXT, 1.0, "hits")
    assert tiles_of(votes) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_ranks_differ():
    """One strong token, two middling ones, three weak ones."""
    scores = torch.tensor([5.0, 4, 3, 1, 1, 1])
    points = places((75, 25), (25, 75), (25, 75), (75, 75), (75, 75), (75, 75))
    first = {rank: tiles_of(count_votes(scores, points, NEXT, 1.0, rank))[0] for rank in RANKED}
    assert first == {"hits": (1, 1), "sum": (1, 0), "peak": (0, 1)}


RANKED = ("hits", "sum", "peak")


@pytest.mark.parametrize("rank", RANKED)
def test_ties_go_to_the_higher_sum_then_to_the_earlier_tile(rank):
    scores = torch.tensor([2.0, 2, 2, 2])
    points = places((75, 75), (25, 75), (75, 25), (25, 25))
    votes = count_votes(scores, points, NEXT, 1.0, rank)
    assert tiles_of(votes) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_newlines_choose_no_tile():
    """In the released code they join the best tokens, so every tile at the right edge is chosen."""
    scores = torch.tensor([9.0, 9, 1, 2])
    points = places((math.nan, math.nan), (math.nan, 5), (25, 25), (75, 75))
    votes = count_votes(scores, points, NEXT, 0.5, "hits")
    assert tiles_of(votes) == [(1, 1)]
    assert count_votes(scores[:2], points[:2], NEXT, 0.5, "hits") == []


def test_at_least_one_token_votes():
    votes = count_votes(torch.tensor([1.0, 2]), places((5, 5), (75, 75)), NEXT, 0.01, "hits")
    assert tiles_of(votes) == [(1, 1)]


def test_tokens_lie_where_the_picture_shows_them():
    points = token_points(NEXT, Tile(1, 0), 2, 2)
    assert points.tolist() == [[12.5, 62.5], [37.5, 62.5], [12.5, 87.5], [37.5, 87.5]]


def test_a_grid_need_not_be_square():
    points = token_points(NEXT, Tile(0, 1), 1, 2)
    assert points.tolist() == [[62.5, 25.0], [87.5, 25.0]]


def test_tokens_in_the_padding_have_no_place():
    points = token_points(PADDED, Tile(0, 1), 2, 2)
    there = ~points.isnan().any(dim=1)
    assert there.tolist() == [True, False, True, False]
    assert points[0].tolist() == pytest.approx([12.5 / 0.15, 2.5 / 0.15])
    assert token_points(PADDED, Tile(1, 1), 2, 2).isnan().any(dim=1).sum() == 3


@pytest.mark.parametrize(("size", "there"), [((100, 3), [0, 1]), ((3, 100), [0, 2]), ((1, 1), [0])])
def test_a_picture_narrower_than_half_a_token_has_tokens(size, there):
    """Of a strip of 2,000 x 1 pixels no token's centre lies in the picture."""
    level = Level(size, size, 100)
    points = token_points(level, Tile(0, 0), 2, 2)
    assert (~points.isnan().any(dim=1)).nonzero().flatten().tolist() == there
    assert ((points[there] > 0) & (points[there] < torch.tensor(size))).all()
