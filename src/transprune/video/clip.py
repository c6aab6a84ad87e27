"""A clip: the frames that were taken of one video, and when they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Clip:
    """Frames of one video, at least one, all of one size.

    Attributes:
        source: the file or folder.
        frames: RGB pictures, in order.
        indices: their numbers among all frames of the video, ascending.
        total: frames of the whole video.
        fps: frames per second of the whole video.
    """

    source: str
    frames: tuple[Image.Image, ...]
    indices: tuple[int, ...]
    total: int
    fps: float

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """All frames. uint8 [F, H, W, 3]."""
        return np.stack([np.asarray(frame) for frame in self.frames])

    def __str__(self) -> str:
        seconds = self.total / self.fps
        return f"{self.source}: {len(self.frames)} of {self.total} frames, {seconds:.3g} s"


def sample_uniform(total: int, count: int) -> tuple[int, ...]:
    """`count` of `total` frames at even distances: the middle of each of `count` equal parts.

    All of them where there are no more than that. Of one frame asked for it is the middle one.
    """
    if count >= total:
        return tuple(range(total))
    return tuple((2 * part + 1) * total // (2 * count) for part in range(count))
