"""Budgets shared among groups: they add up, full groups pass their seats on, and nothing is taken twice."""

from __future__ import annotations

import pytest
import torch

from transprune.algebra.zones import number_blocks, rank_in_group, select_by_group, share_seats


def places(rows: int, columns: int) -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns))


def test_blocks_in_raster_order() -> None:
    block = number_blocks(places(4, 4), torch.zeros(16, dtype=torch.long), 2)
    assert block.view(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_an_uneven_grid_has_smaller_blocks_at_its_edges() -> None:
    block = number_blocks(places(3, 3), torch.zeros(9, dtype=torch.long), 2)
    assert block.view(3, 3).tolist() == [[0, 0, 1], [0, 0, 1], [2, 2, 3]]


def test_blocks_of_two_crops_are_different() -> None:
    place = torch.cat([places(2, 2), places(2, 2)])
    assert number_blocks(place, torch.arange(8) // 4, 2).tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("share", "total", "seats"),
    [
        ([1, 1, 1, 1], 8, [2, 2, 2, 2]),
        ([1, 1, 1, 1], 6, [2, 2, 1, 1]),  # equal remainders: the first ones
        ([5, 3, 2], 10, [5, 3, 2]),
        ([0.5, 0.3, 0.2], 4, [2, 1, 1]),  # 2.0, 1.2, 0.8: the last has the largest remainder
        ([1, 0, 0], 5, [5, 0, 0]),
        ([0.26, 0.25, 0.25, 0.24], 2, [1, 1, 0, 0]),
    ],
)
def test_seats_by_the_largest_remainder(share, total, seats) -> None:
    assert share_seats(torch.tensor(share, dtype=torch.float32), total).tolist() == seats


def test_seats_always_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    for total in (0, 1, 7, 64, 575):
        for groups in (1, 3, 144):
            share = torch.rand(groups, generator=generator).softmax(dim=0)
            assert int(share_seats(share, total).sum()) == total


def test_rank_in_group() -> None:
    score = torch.tensor([0.1, 0.9, 0.5, 0.9, float("nan")])
    group = torch.tensor([0, 1, 0, 1, 0])
    assert rank_in_group(score, group).tolist() == [1, 0, 0, 1, 2]


def test_the_best_of_each_group() -> None:
    score = torch.tensor([0.1, 0.2, 0.3, 0.9, 0.8, 0.7])
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    kept = select_by_group(score, group, torch.tensor([2, 1]), torch.tensor([0.0, 1.0]), 3)
    assert kept.tolist() == [1, 2, 3]


def test_seats_of_a_small_group_go_round_the_others() -> None:
    """Group 0 has one token and four seats: three are passed on, the highest priority first."""
    score = torch.tensor([0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    group = torch.tensor([0, 1, 1, 1, 2, 2, 2])
    seats, priority = torch.tensor([4, 0, 0]), torch.tensor([1.0, 0.2, 0.3])
    assert select_by_group(score, group, seats, priority, 4).tolist() == [0, 1, 4, 5]
    assert select_by_group(score, group, seats, priority, 2).tolist() == [0, 4]


def test_everything_is_asked_for() -> None:
    group = torch.tensor([1, 0, 1, 1])
    seats = torch.tensor([0, 4])
    assert select_by_group(torch.rand(4), group, seats, torch.ones(2), 4).tolist() == [0, 1, 2, 3]
