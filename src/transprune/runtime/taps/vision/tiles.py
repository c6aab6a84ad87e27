"""Where each tower input lies in its picture, from the tokens of a pool. Everything is on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transprune.core.prompt import Numbers
from transprune.core.signals import Tile
from transprune.errors import MissingSignal
from transprune.families.tilings import IN_A_ROW, IN_LINES, WHOLE

OTHER = "Use a method that does not read where tiles lie (`transprune methods`)"


def find_tiles(
    crop: Numbers, clip: Numbers, tiling: Numbers, looks: NDArray[Any] | None = None
) -> tuple[Tile, ...]:
    """One tile for each crop of a pool, in the order of the crops.

    Args:
        crop: [N], number of the tower input of each token, in the order in which they first appear;
            -1 for tokens without a patch.
        clip: [N], number of the picture or video of each token.
        tiling: [N], how that picture was cut (`families.tilings`).
        looks: [crops, channels, n, n], small pictures of the crops, if the family gives them.

    Raises:
        MissingSignal: the tokens of a picture are not in the order that its family names.
    """
    if (np.diff(clip) < 0).any():
        raise MissingSignal(
            "one picture of this prompt stands between the tokens of another, so where its tiles "
            f"lie is not known. {OTHER}"
        )

    tiles: list[Tile] = []
    # the tiles of a picture may be images of their own, then they share a number
    picture = np.where(tiling >= IN_A_ROW, -tiling, clip)
    for number in dict.fromkeys(picture.tolist()):
        own = crop[picture == number]
        how = int(tiling[picture == number][0])
        if how >= IN_A_ROW:
            count = len(np.unique(own))
            tiles += _tiles_in_a_row(count, len(tiles), looks)
        else:
            tiles += _tiles_of_one(own, how, len(tiles))

    return tuple(tiles)


def _tiles_in_a_row(crops: int, before: int, looks: NDArray[Any] | None) -> list[Tile]:
    """Tiles of one picture and a view of the whole behind them, numbered from `before` on."""
    if crops == 1:  # pools of single tiles
        return [Tile(before, 0, 0, 1, 1)]

    shape = None if looks is None else shape_by_looks(looks[before : before + crops])
    if shape is None:
        return [Tile(number, -1, -1, 0, 0) for number in range(before, before + crops)]

    rows, columns = shape
    places = [(row, column) for row in range(rows) for column in range(columns)]
    return [Tile(before, row, column, rows, columns) for row, column in [*places, (-1, -1)]]


def shape_by_looks(looks: NDArray[Any]) -> tuple[int, int] | None:
    """Rows and columns of tiles that together look as the last picture; None where none clearly do.

    looks [tiles + 1, channels, n, n]. The mean over every part of the picture must be that of the
    view of the whole, to a tenth of its variance, and any other shape at least twice as far away.
    """
    *tiles, whole = looks.astype(np.float64)
    channels, size, _ = whole.shape
    errors = {}
    for rows in range(1, len(tiles) + 1):
        columns, rest = divmod(len(tiles), rows)
        if rest:
            continue

        # [rows, columns, c, n, n] -> [c, rows * n, columns * n] -> [c, n, n]
        stitched = np.stack(tiles).reshape(rows, columns, channels, size, size)
        stitched = stitched.transpose(2, 0, 3, 1, 4)
        small = stitched.reshape(channels, size, rows, size, columns).mean(axis=(2, 4))
        errors[rows, columns] = float(np.square(small - whole).mean())

    ranked = sorted(errors, key=lambda shape: errors[shape])
    variance = float(whole.var(axis=(1, 2)).mean())
    best, *others = [errors[shape] for shape in ranked]
    if best > variance / 10 or (others and others[0] < 2 * best):
        return None
    return ranked[0]


def _tiles_of_one(crop: Numbers, tiling: int, before: int) -> list[Tile]:
    """Tiles of one picture or video, whose crops are numbered from `before` on."""
    crops = len(np.unique(crop[crop >= 0]))
    if tiling == IN_LINES and crops > 1:
        # a picture has the number of its first crop
        places = _places(crop, before)
        rows, columns = np.array(places).max(axis=0).tolist()
        return [Tile(before, row, column, rows + 1, columns + 1) for row, column in places]

    # frames of a video are pictures of their own
    numbers = range(before, before + crops)
    if tiling in (WHOLE, IN_LINES):
        return [Tile(number, 0, 0, 1, 1) for number in numbers]
    return [Tile(number, -1, -1, 0, 0) for number in numbers]


def _places(crop: Numbers, before: int) -> list[tuple[int, int]]:
    """Row and column of each crop of a picture among its tiles; -1 and -1 for the whole view.

    The whole view comes first; then each line of the picture runs through all tiles side by side,
    and a token without a patch ends it.

    Raises:
        MissingSignal: the lines do not fit together.
    """
    behind = (crop == before).nonzero()[0][-1] + 1
    rest = crop[behind:]
    ends = (rest < 0).nonzero()[0]
    lines = [line for line in np.split(rest, ends) if (line >= 0).any()]

    # line by line the tiles in it, each named once
    first = np.unique(lines[0][lines[0] >= 0]) if lines else np.zeros(0, dtype=np.int64)
    columns = len(first)
    places = {before: (-1, -1)}
    row = -1
    for line in lines:
        numbers = list(dict.fromkeys(line[line >= 0].tolist()))
        if numbers[0] not in places:
            row += 1
        expected = [before + 1 + row * columns + column for column in range(columns)]
        if numbers != expected:
            raise MissingSignal(
                "the lines of a picture in this prompt do not run through its tiles from left to "
                f"right and from top to bottom, so where its tiles lie is not known. {OTHER}"
            )

        places |= {number: (row, column) for column, number in enumerate(numbers)}

    return [places[number] for number in sorted(places)]
