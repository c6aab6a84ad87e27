"""Grids of visual tokens: share a budget among crops, cut a grid into cells, choose a smaller grid.

Plain integers and tensors of the host; rows before columns everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from transprune.core.signals import VisionSignals

STRETCH = 1.5  # a picture is stretched by no more than this to use up its budget


@dataclass(frozen=True)
class Crop:
    """The part of one tower input that is in the prompt, and its budget.

    The part is a rectangle: LLaVA-NeXT takes the padding off.

    Attributes:
        number: of the crop.
        tokens: long [n], its tokens in the pool, on the host.
        place: long [n, 2], their places within the rectangle, on the host.
        corner: the first row and column of the rectangle in the crop's whole grid.
        size: rows and columns of the rectangle.
        whole: rows and columns of the whole grid.
        budget: tokens that may stay, at least 1.
    """

    number: int
    tokens: Tensor
    place: Tensor
    corner: tuple[int, int]
    size: tuple[int, int]
    whole: tuple[int, int]
    budget: int


def crops_of(vision: VisionSignals, budget: int) -> Iterator[Crop]:
    """Every crop with its proportional share of the budget; a share of 0 leaves the crop out."""
    crop = torch.from_numpy(vision.on_host("crop"))
    numbers = range(int(crop.max()) + 1)
    tokens = [(crop == number).nonzero().flatten() for number in numbers]
    shares = allocate(budget, [len(members) for members in tokens])

    for number, members, share in zip(numbers, tokens, shares, strict=True):
        if share:
            yield _crop(vision, number, members, share)


def _crop(vision: VisionSignals, number: int, members: Tensor, budget: int) -> Crop:
    """The rectangle that the tokens `members` of one crop fill."""
    place = torch.from_numpy(vision.on_host("place"))[members]  # [n, 2]
    corner = place.amin(dim=0)
    last = place.amax(dim=0)

    first_row, first_column = corner.tolist()
    rows, columns = (last - corner + 1).tolist()
    whole_rows, whole_columns = vision.on_host("grid")[members[0]].tolist()

    return Crop(
        number=number,
        tokens=members,
        place=place - corner,
        corner=(int(first_row), int(first_column)),
        size=(rows, columns),
        whole=(whole_rows, whole_columns),
        budget=budget,
    )


def allocate(total: int, sizes: list[int]) -> list[int]:
    """`total` shared in proportion to `sizes`.

    Shares are rounded down; the rest goes to the largest remainders, first ones first.
    """
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]

    def remainder(index: int) -> int:
        return total * sizes[index] % whole

    by_remainder = sorted(range(len(sizes)), key=remainder, reverse=True)  # stable when reversed
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1

    return shares


def cut_cells(place: Tensor, size: tuple[int, int], k: int) -> Tensor:
    """The cell of each place when a grid is cut into exactly `k` cells of nearly equal size.

    [n, 2] -> [n]. The grid is cut into bands of rows, and each band into columns; where `k` is no
    product the bands have one cell more or less. 144 of 24 x 24 are 2 x 2 squares. At most as many
    cells as the grid has places.
    """
    rows, columns = size
    k = min(k, rows * columns)

    # bands that make the cells about square, yet enough of them that no band has more cells than
    # columns
    square = round((k * rows / columns) ** 0.5)
    fewest = -(-k // columns)
    bands = min(max(square, fewest, 1), rows, k)

    band = place[:, 0] * bands // rows
    first = band * k // bands  # number of the first cell of the band
    after = (band + 1) * k // bands
    return first + place[:, 1] * (after - first) // columns


def smaller_grid(size: tuple[int, int], k: int) -> tuple[int, int]:
    """The grid of at most `k` cells that uses most of them.

    It stretches the picture no more than 1.5 times.
    """
    rows, columns = size

    def stretch(grid: tuple[int, int]) -> float:
        factor = grid[0] * columns / (grid[1] * rows)
        return max(factor, 1 / factor)

    def rank(grid: tuple[int, int]) -> tuple[int, float]:
        return grid[0] * grid[1], -stretch(grid)

    all_grids = product(range(1, rows + 1), range(1, columns + 1))
    grids = [grid for grid in all_grids if grid[0] * grid[1] <= k]
    fitting = [grid for grid in grids if stretch(grid) <= STRETCH]
    return max(fitting or grids, key=rank)


def middle_members(group: Tensor, groups: int) -> Tensor:
    """The middle member of each group, in raster order. [n] -> [groups] long."""
    order = group.argsort(stable=True)  # group by group
    sizes = torch.bincount(group, minlength=groups)

    starts = sizes.cumsum(0) - sizes
    return order[starts + sizes // 2]
