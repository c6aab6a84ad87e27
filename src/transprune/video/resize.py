"""The sizes that processors bring frames to, as their documentation states them.

Qwen's two rules round both sides to whole tokens and hold the pixels within limits, of each frame
(Qwen2-VL, Qwen2.5-VL) or of the whole clip (Qwen3-VL, Qwen3.5). LLaVA's bring the shorter side to
one length and cut the middle out, or stretch to one size.
"""

from __future__ import annotations

from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.errors import ImageError

Size = tuple[int, int]  # height and width
LARGEST_RATIO = 200  # of the longer to the shorter side, in Qwen's processors


def size_of_frame(size: Size, step: int, least: float, most: float) -> Size:
    """Height and width of a frame, multiples of `step` with `least` to `most` pixels.

    Raises:
        ImageError: one side is more than 200 times the other.
    """
    _check_ratio(size)
    height, width = (round(side / step) * step for side in size)
    area = size[0] * size[1]
    if height * width > most:
        return _shrunk(size, step, sqrt(area / most))
    if height * width < least:
        return _grown(size, step, sqrt(least / area))
    return height, width


def size_of_clip(
    frames: int, size: Size, step: int, time_step: int, least: float, most: float
) -> Size:
    """The same, with limits for the pixels of all `frames` together.

    Raises:
        ImageError: one side is more than 200 times the other.
    """
    if min(size) < step:
        scale = max(step / size[0], step / size[1])
        size = (int(size[0] * scale), int(size[1] * scale))

    _check_ratio(size)

    # whole steps of time are what the limits are compared with; a single frame is repeated
    times = max(time_step, round(frames / time_step) * time_step)
    height, width = (round(side / step) * step for side in size)
    volume = frames * size[0] * size[1]
    if times * height * width > most:
        return _shrunk(size, step, sqrt(volume / most))
    if times * height * width < least:
        return _grown(size, step, sqrt(least / volume))
    return height, width


def size_of_shortest(size: Size, shortest: int) -> Size:
    """The shorter side becomes `shortest`, the longer one keeps the proportions, rounded down."""
    height, width = size
    if height <= width:
        return shortest, int(shortest * width / height)
    return int(shortest * height / width), shortest


def resized(frames: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Bicubic and without aliasing, like the processors. uint8 [F, H, W, 3] -> [F, h, w, 3]."""
    height, width = size
    scaled = []
    for frame in frames:
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        scaled.append(np.asarray(picture))
    return np.stack(scaled)


def cropped(frames: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The middle of each frame; black where a frame is smaller. -> [F, h, w, 3]."""
    margins = [(0, 0)]
    for side, wanted in zip(frames.shape[1:3], size, strict=True):
        missing = max(0, wanted - side)
        margins.append((missing // 2, (missing + 1) // 2))

    frames = np.pad(frames, [*margins, (0, 0)])

    top, left = ((side - wanted) // 2 for side, wanted in zip(frames.shape[1:3], size, strict=True))
    return frames[:, top : top + size[0], left : left + size[1]]


def _check_ratio(size: Size) -> None:
    if max(size) > LARGEST_RATIO * min(size):
        raise ImageError(
            f"frames of {size[1]} x {size[0]} pixels are more than {LARGEST_RATIO} times as long as "
            "wide, which this model's processor refuses; cut them first"
        )


def _shrunk(size: Size, step: int, divisor: float) -> Size:
    height, width = (max(step, floor(side / divisor / step) * step) for side in size)
    return height, width


def _grown(size: Size, step: int, factor: float) -> Size:
    height, width = (ceil(side * factor / step) * step for side in size)
    return height, width
