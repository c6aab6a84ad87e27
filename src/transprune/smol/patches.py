"""What each patch of a picture shows: the thing that it belongs to, and characters of signs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transprune.smol.things import PATCH, Thing

_COVERED = 0.2  # of a patch, from which on it belongs to a thing


def owners(top: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each patch the thing that most of it shows, if that is more than a fifth of the patch."""
    grid = top.shape[0] // PATCH
    # [side, side] -> [grid * grid, 196]
    patches = top.reshape(grid, PATCH, grid, PATCH).swapaxes(1, 2).reshape(grid * grid, -1)
    count = int(top.max()) + 1
    if count == 0:
        return np.full(grid * grid, -1, np.int64)

    # count pairs of patch and thing; number 0 is the ground
    pairs = (patches + 1) + (count + 1) * np.arange(grid * grid)[:, None]
    counts = np.bincount(pairs.ravel(), minlength=(count + 1) * grid * grid)
    counts = counts.reshape(grid * grid, count + 1)[:, 1:]
    return np.where(counts.max(axis=1) > _COVERED * PATCH * PATCH, counts.argmax(axis=1), -1)


def letters_on(
    things: list[Thing], top: NDArray[np.int64], inked: NDArray[np.uint8]
) -> tuple[str, ...]:
    """The characters of signs on each patch, of which at least a fifth of the patch is covered."""
    grid = top.shape[0] // PATCH
    texts = [""] * (grid * grid)

    for number, thing in enumerate(things):
        if thing.word is None:
            continue
        # whole patches around the sign
        first_row, last_row = thing.box[1] // PATCH, -(-thing.box[3] // PATCH)
        window = slice(first_row * PATCH, last_row * PATCH)
        places = np.where(top[window] == number, inked[window], 0)
        places = places.reshape(-1, PATCH, grid, PATCH)

        for place, character in enumerate(thing.word, start=1):
            share = (places == place).mean(axis=(1, 3)).ravel()
            for patch in np.flatnonzero(share > _COVERED).tolist():
                texts[first_row * grid + patch] += character

    return tuple(texts)
