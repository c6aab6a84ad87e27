"""Where the visual tokens of one image lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """Where the tokens of one image lie: `rows * columns` of them in raster order, first of all.

    Attributes:
        rows, columns: tokens down and across.
        cropped: they cover the centre square only, because the processor crops.
        total: visual tokens of the image; more than rows * columns where some have no place in it.
    """

    rows: int
    columns: int
    cropped: bool = False
    total: int = 0

    @property
    def cells(self) -> int:
        """Tokens that have a place."""
        return self.rows * self.columns

    @property
    def partial(self) -> bool:
        """Some tokens of the image have no place."""
        return self.total > self.cells


def square_grid(config: Any, tokens: int, *, cropped: bool) -> Grid | None:
    """The grid of an image that the tower reads as a square of one size.

    None where the tower has no such size, or the image another number of `tokens`. `cropped` as in
    `Grid`.
    """
    side = _square_side(config)
    # a CLS token among the visual tokens, or merged patches, make another number
    if side is None or tokens != side**2:
        return None
    return Grid(side, side, cropped=cropped, total=tokens)


def _square_side(config: Any) -> int | None:
    """Patches along one side of the tower's square input; None where the size is not fixed."""
    size = getattr(config.vision_config, "image_size", None)
    patch = getattr(config.vision_config, "patch_size", None)
    if not isinstance(size, int) or not isinstance(patch, int):
        return None
    return size // patch
