"""Pool and Downsample: budgets on grids of any shape."""

from __future__ import annotations

import pytest
import torch

from methods.signals import choose, numbered, on_grids
from transprune.algebra.grids import allocate, cut_cells, middle_members, smaller_grid
from transprune.errors import MissingSignal
from transprune.methods import Downsample, Pool


def places(rows: int, columns: int) -> torch.Tensor:
    return on_grids((rows, columns))["place"]


def test_a_quarter_of_a_square_is_two_by_two() -> None:
    cells = cut_cells(places(4, 6), (4, 6), 6)
    assert cells.view(4, 6).tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (12, 12), (24, 24), (3, 17)])
def test_any_grid_is_cut_into_exactly_so_many_cells(size: tuple[int, int]) -> None:
    total = size[0] * size[1]
    for k in {1, 2, 3, total // 3, total // 2, total - 1, total, total + 5}:
        if k < 1:
            continue
        cells = cut_cells(places(*size), size, k)
        counts = torch.bincount(cells)
        assert len(counts) == min(k, total) and int(counts.min()) >= 1
        assert len(middle_members(cells, len(counts)).unique()) == len(counts)


def test_budgets_are_shared_in_proportion() -> None:
    assert allocate(10, [16, 16]) == [5, 5]
    assert allocate(11, [16, 16]) == [6, 5]
    assert allocate(7, [16, 12]) == [4, 3]
    assert allocate(1, [4, 9, 3]) == [0, 1, 0]
    assert allocate(28, [16, 12]) == [16, 12]


def test_a_smaller_grid_uses_its_budget_without_stretching_much() -> None:
    assert smaller_grid((24, 24), 144) == (12, 12)
    assert smaller_grid((24, 24), 192) in ((12, 16), (16, 12))
    assert smaller_grid((24, 24), 288) in ((16, 18), (18, 16))
    assert smaller_grid((10, 40), 100) == (5, 20)
    assert smaller_grid((4, 4), 1) == (1, 1)
    assert smaller_grid((1, 9), 3) == (1, 3)


def test_pool_averages_cells_in_front_of_the_projector() -> None:
    states = numbered(16, 1)
    selection = choose(
        Pool(4), states.square(), states=states, project=torch.square, **on_grids((4, 4))
    )
    means = [
        (0 + 1 + 4 + 5) / 4,
        (2 + 3 + 6 + 7) / 4,
        (8 + 9 + 12 + 13) / 4,
        (10 + 11 + 14 + 15) / 4,
    ]
    assert selection.features is not None
    assert selection.features.flatten().tolist() == [m**2 for m in means]
    assert selection.keep.tolist() == [4, 6, 12, 14]


def test_pool_of_two_pictures_of_unequal_size_mixes_nothing() -> None:
    where = on_grids((2, 2), (2, 4))
    features = torch.cat([torch.full((4, 1), 1.0), torch.full((8, 1), 5.0)])
    selection = choose(Pool(3), features, **where)
    assert selection.features is not None and selection.features.flatten().tolist() == [1, 5, 5]


def test_newline_tokens_go_first() -> None:
    where = on_grids((2, 2), newlines=True)
    features = numbered(6)
    assert choose(Pool(4), features, **where).keep.tolist() == [0, 1, 3, 4]
    assert choose(Pool(5), features, **where).keep.tolist() == [0, 1, 2, 3, 4]
    assert len(choose(Pool(2), features, **where).keep) == 2


def test_downsample_asks_for_a_smaller_picture_and_puts_it_in_the_middle() -> None:
    asked = []

    def encode(crop: int, rows: int, columns: int) -> torch.Tensor:
        asked.append((crop, rows, columns))
        return 100 * (crop + 1) + numbered(rows * columns)

    selection = choose(Downsample(7), numbered(32), encode=encode, **on_grids((4, 4), (2, 8)))
    assert asked == [(0, 2, 2), (1, 1, 3)]
    assert selection.keep.tolist() == [5, 7, 13, 15, 16 + 8 + 1, 16 + 8 + 4, 16 + 8 + 6]
    assert selection.features is not None
    assert selection.features[:, 0].tolist() == [100, 101, 102, 103, 200, 201, 202]
    assert Downsample(7).plan(32, 32)[0].at_most


def test_of_a_picture_without_its_padding_only_that_part_of_the_small_one_is_taken() -> None:
    """4 x 4 of which the middle two rows are in the prompt: the small picture is 2 x 2, its one row in the middle."""
    where = on_grids((4, 4))
    shown = {name: values[4:12] for name, values in where.items()}
    selection = choose(
        Downsample(2), numbered(8), encode=lambda crop, r, c: numbered(r * c), **shown
    )
    assert len(selection.keep) == 2
    assert selection.features is not None
    assert selection.features[:, 0].tolist() in ([0, 1], [2, 3])


def test_a_model_that_cannot_encode_again_says_so() -> None:
    with pytest.raises(MissingSignal, match="pool"):
        choose(Downsample(2), numbered(4), **on_grids((2, 2)))
