"""How much of what the view of a whole picture attends to falls on each of its tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Span = tuple[int, int]


def overlaps(parts: int, size: int, shown: Span, cells: int) -> Floats:
    """Along one side, how much of each cell of the whole view lies on each tile.

    The tiles have `size` places each, side by side; those from `shown[0]` to in front of `shown[1]`
    are the picture, the others its padding. The whole view shows the picture in `cells` cells.

    -> float32 [parts, cells]; every column adds up to 1.
    """
    first, end = shown
    scale = cells / (end - first)
    weights = np.zeros((parts, cells), dtype=np.float32)

    for part in range(parts):
        # the part of the tile that shows something, in cells of the whole view
        start = (max(part * size, first) - first) * scale
        stop = (min((part + 1) * size, end) - first) * scale
        for cell in range(cells):
            weights[part, cell] = max(0.0, min(stop, cell + 1) - max(start, cell))

    return weights
