"""Grids of visual tokens: sharing a budget among crops, cutting a grid into cells, choosing a smaller grid.

Plain integers and tensors; rows before columns everywhere.
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
    """The part of one tower input that is in the prompt, a rectangle (LLaVA-NeXT takes off padding), and its budget.

    Attributes:
        number: of the crop.
        tokens: long [n], its tokens in the pool.
        place: long [n, 2], their places within the rectangle.
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
    """Every crop with its proportional share of the budget; one whose share comes to nothing is left out."""
    numbers = range(int(vision.crop.max()) + 1)
    tokens = [(vision.crop == number).nonzero().flatten() for number in numbers]
    for number, share in zip(numbers, allocate(budget, [len(t) for t in tokens]), strict=True):
        if share:
            place = vision["place"][tokens[number]]
            corner, last = place.amin(dim=0), place.amax(dim=0)
            rows, columns = (last - corner + 1).tolist()
            grid = vision["grid"][tokens[number][0]].tolist()
            first = (int(corner[0]), int(corner[1]))
            yield Crop(
                number,
                tokens[number],
                place - corner,
                first,
                (rows, columns),
                (grid[0], grid[1]),
                share,
            )


def allocate(total: int, sizes: list[int]) -> list[int]:
    """`total` shared in proportion to `sizes`: rounded down, the rest to the largest remainders, first ones first."""
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(total * sizes[i] % whole))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def cut_cells(place: Tensor, size: tuple[int, int], k: int) -> Tensor:
    """Number of the cell of each place when a grid is cut into exactly `k` cells of nearly equal size. [n, 2] -> [n].

    Bands of rows, each cut into columns; where `k` is no product the bands have one cell more or less. 144 of 24 x 24
    are 2 x 2 squares. At most as many cells as the grid has places.
    """
    rows, columns = size
    k = min(k, rows * columns)
    bands = min(max(round((k * rows / columns) ** 0.5), -(-k // columns), 1), rows, k)
    band = place[:, 0] * bands // rows
    first, after = band * k // bands, (band + 1) * k // bands
    return first + place[:, 1] * (after - first) // columns


def smaller_grid(size: tuple[int, int], k: int) -> tuple[int, int]:
    """The grid of at most `k` cells that uses most of them without stretching the picture more than 1.5 times."""
    rows, columns = size

    def stretch(grid: tuple[int, int]) -> float:
        factor = grid[0] * columns / (grid[1] * rows)
        return max(factor, 1 / factor)

    grids = [
        grid
        for grid in product(range(1, rows + 1), range(1, columns + 1))
        if grid[0] * grid[1] <= k
    ]
    fitting = [grid for grid in grids if stretch(grid) <= STRETCH] or grids
    return max(fitting, key=lambda grid: (grid[0] * grid[1], -stretch(grid)))


def middle_members(group: Tensor, groups: int) -> Tensor:
    """The middle member of each group, in raster order. [n] -> [groups] long."""
    order = group.argsort(stable=True)
    sizes = torch.bincount(group, minlength=groups)
    return order[sizes.cumsum(0) - sizes + sizes // 2]
