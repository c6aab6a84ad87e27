"""The dynamic image pyramid: one picture at several sizes, each cut into tiles of one side.

LRS-VQA (Luo et al., ICCV 2025, https://arxiv.org/abs/2503.07588). Sizes are 1, 1/2, 1/4, ... of the
picture while the longer side keeps at least `BLOCKS` tiles, and one at which it is exactly that
long, the *base*. Tiles lie in a grid from the top left corner; those at the right and the bottom
may reach beyond the picture. The thumbnail, which fits into one tile, is no level of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from transprune.errors import MethodError

BLOCKS = 3  # tiles along the longer side of the base: 1008 pixels of 336 in the paper

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, order=True)
class Tile:
    """One tile of a level, by its row and column from the top left."""

    row: int
    column: int


@dataclass(frozen=True)
class Level:
    """The picture at one size.

    Attributes:
        source: width and height of the picture itself, pixels.
        size: width and height at this level, pixels.
        side: side of a tile, pixels of this level.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    side: int

    @property
    def ratio(self) -> float:
        """Size of this level over that of the picture, along the longer side."""
        return max(self.size) / max(self.source)

    @property
    def rows(self) -> int:
        """Tiles from top to bottom."""
        return ceil(self.size[1] / self.side)

    @property
    def columns(self) -> int:
        """Tiles from left to right."""
        return ceil(self.size[0] / self.side)

    def tiles(self) -> Iterator[Tile]:
        """All tiles in raster order."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield Tile(row, column)

    def content(self, tile: Tile) -> tuple[int, int]:
        """Width and height of the part of a tile that shows the picture; the rest is padding."""
        width = min(self.side, self.size[0] - tile.column * self.side)
        height = min(self.side, self.size[1] - tile.row * self.side)
        return width, height

    def box(self, tile: Tile) -> Box:
        """What a tile shows, in pixels of the picture itself, padding left out."""
        width, height = self.content(tile)
        left = tile.column * self.side
        top = tile.row * self.side

        # rounding a level to whole pixels gives each axis a scale of its own
        across = self.source[0] / self.size[0]
        down = self.source[1] / self.size[1]
        return left * across, top * down, (left + width) * across, (top + height) * down

    def tile_at(self, x: float, y: float) -> Tile:
        """The tile that shows a point of the picture, given in pixels of the picture itself."""
        column = int(x * self.size[0] / self.source[0] / self.side)
        row = int(y * self.size[1] / self.source[1] / self.side)
        # a point on the far edge belongs to the last tile
        return Tile(min(row, self.rows - 1), min(column, self.columns - 1))


def build_pyramid(width: int, height: int, side: int) -> tuple[Level, ...]:
    """The levels of a picture, the base first and the full size last.

    Args:
        width, height: of the picture, pixels.
        side: of a tile, pixels.

    Returns:
        At least one level; empty for a picture no longer than the base, which needs no pyramid.

    Raises:
        MethodError: a side, width or height below 1.
    """
    if min(width, height, side) < 1:
        raise MethodError(
            f"a pyramid needs sizes of at least 1 pixel; got {width} x {height}, tiles of {side}"
        )

    # a picture that the model reads whole needs no search
    longer = max(width, height)
    base = BLOCKS * side
    if longer <= base:
        return ()

    levels = [_level(width, height, side, base / longer)]
    halvings = []
    ratio = 1.0
    # each level halves the one above, so that a tile becomes four
    while ratio > base / longer:
        halvings.append(ratio)
        ratio /= 2

    levels += [_level(width, height, side, ratio) for ratio in reversed(halvings)]
    return tuple(levels)


def fit(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of the thumbnail: the same proportions, the longer side `side` pixels."""
    ratio = side / max(width, height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _level(width: int, height: int, side: int, ratio: float) -> Level:
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return Level((width, height), size, side)
