"""Frames as the arrays that vision towers take: normalised pixels, or patches of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


def normalised(
    frames: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float], scale: float = 1 / 255
) -> Pixels:
    """Pixels times `scale`, minus the mean, over the deviation of each channel.

    uint8 [F, H, W, 3] -> float32 [F, 3, H, W].
    """
    # in one step, as the processors do: both are brought to the range of the pixels
    offset = np.array(mean, dtype=np.float32) * np.float32(1 / scale)
    spread = np.array(std, dtype=np.float32) * np.float32(1 / scale)
    pixels = (frames.astype(np.float32) - offset) / spread
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def cut_patches(
    pixels: Pixels, patch: int, time_step: int, merge: int
) -> tuple[Pixels, tuple[int, int, int]]:
    """Patches of `time_step` frames each, those of one token next to each other (Qwen).

    The last frame is repeated until the number of frames is a multiple of `time_step`.

    Args:
        pixels: float32 [F, C, H, W], both sides multiples of `merge * patch`.
        patch: side of a patch.
        time_step: frames in a patch.
        merge: patches of a token, across and down.

    Returns:
        Patches, float32 [t * h * w, C * time_step * patch * patch], and (t, h, w). They are ordered
        by time, then by token, then by patch within the token, each line by line.
    """
    missing = -len(pixels) % time_step
    if missing:
        pixels = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])

    times = len(pixels) // time_step
    channels = pixels.shape[1]
    rows, columns = (side // patch for side in pixels.shape[2:])
    tall = (rows // merge, merge, patch)
    wide = (columns // merge, merge, patch)
    split = pixels.reshape(times, time_step, channels, *tall, *wide)
    # time, token row, token column, row and column in the token; then the pixels of a patch
    ordered = split.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return ordered.reshape(times * rows * columns, -1), (times, rows, columns)
