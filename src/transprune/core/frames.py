"""Frames of videos: which one each visual token belongs to, and how many of each were kept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """The signal `"frames"`: the places of a pool's tokens in time. Shapes: N tokens.

    Attributes:
        clip: long [N], number of the picture or video within the sample.
        frame: long [N], number of the frame within the sample, counted through all clips.
        place: long [N], number of the token within its frame.
        whole: the pool holds every frame of its clips.
    """

    clip: Numbers
    frame: Numbers
    place: Numbers
    whole: bool = True

    @cached_property
    def previous(self) -> Numbers:
        """The token at the same place in the previous frame of the same clip. long [N].

        -1 where there is none: in the first frame of a clip, and at places that the frame before
        does not have.
        """
        step = int(self.place.max(initial=0)) + 1  # more than any frame has places
        keys = self.frame * step + self.place
        order = keys.argsort()
        found = np.searchsorted(keys, keys - step, sorter=order)
        before = order[np.minimum(found, len(keys) - 1)]

        same_place = keys[before] == keys - step
        same_clip = self.clip[before] == self.clip
        return np.where(same_place & same_clip, before, -1)


def count_per_frame(
    kept: Sequence[int], clips: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """How many of the token numbers `kept`, in any order, lie in each frame of each clip."""
    # sorted once, so that each frame costs two searches and no pass over all tokens
    kept = sorted(kept)
    counts = []
    end = 0
    for clip in clips:
        own = []
        for tokens in clip:
            start = bisect_left(kept, end)
            end += tokens
            own.append(bisect_left(kept, end) - start)
        counts.append(tuple(own))

    return tuple(counts)
