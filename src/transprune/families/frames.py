"""How the visual tokens of a video split into frames.

Model classes say it in different ways, of which the first that applies is taken:

- text stands between the frames (Qwen3-VL writes their times there);
- `video_grid_thw` has the number of time steps (Qwen);
- `pixel_values_videos` is [videos, frames, 3, H, W] (LLaVA-OneVision, LLaVA-NeXT-Video,
  Video-LLaVA);
- `generate` has encoded the video before the first forward and passes neither. Then the tower's
  states [videos * frames, n, V] have the number, or the positions of M-RoPE, which return to the
  first row and column at every frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.int64]
Frames = list[list[int]]


def find_frames(kwargs: Mapping[str, Any], mask: Tensor, lengths: Sequence[int]) -> Frames | None:
    """Visual tokens of each frame of each video; None where nothing tells.

    Args:
        kwargs: arguments of the call of the outer model.
        mask: slots of video features, bool [B, L], on the host.
        lengths: visual tokens of each video, in prompt order.
    """
    slots = _slots_of_videos(mask, lengths)
    parted = [_runs(of_video) for of_video in slots]
    if any(len(runs) > 1 for runs in parted):
        return parted

    counts = _counts_of_grids(kwargs, lengths)
    counts = counts or _counts_of_pixels(kwargs, lengths)
    counts = counts or _counts_of_states(kwargs, lengths)
    if counts is not None:
        return _equal_frames(lengths, counts)
    return _by_positions(kwargs, slots)


def _equal_frames(lengths: Sequence[int], counts: Sequence[int]) -> Frames | None:
    """Each video in so many equal frames; None where it has fewer tokens than that.

    A rest, such as the newline behind a whole video of LLaVA-OneVision, belongs to the last frame.
    """
    frames = []
    for length, count in zip(lengths, counts, strict=True):
        if not 0 < count <= length:
            return None
        share, rest = divmod(length, count)
        frames.append([share] * (count - 1) + [share + rest])
    return frames


def _slots_of_videos(mask: Tensor, lengths: Sequence[int]) -> list[Numbers]:
    """Slots of each video, counted through the batch."""
    slots = mask.numpy().ravel().nonzero()[0]
    return np.split(slots, np.cumsum(lengths)[:-1])


def _runs(slots: Numbers) -> list[int]:
    """Lengths of the uninterrupted runs of slots."""
    starts = np.flatnonzero(np.diff(slots) > 1) + 1
    return [len(run) for run in np.split(slots, starts)]


def _counts_of_grids(kwargs: Mapping[str, Any], lengths: Sequence[int]) -> list[int] | None:
    grids = kwargs.get("video_grid_thw")
    if not isinstance(grids, Tensor) or len(grids) != len(lengths):
        return None
    return [int(time) for time in grids[:, 0]]


def _counts_of_pixels(kwargs: Mapping[str, Any], lengths: Sequence[int]) -> list[int] | None:
    pixels = kwargs.get("pixel_values_videos")
    if not isinstance(pixels, Tensor) or pixels.ndim != 5 or len(pixels) != len(lengths):
        return None
    return [pixels.shape[1]] * len(lengths)


def _counts_of_states(kwargs: Mapping[str, Any], lengths: Sequence[int]) -> list[int] | None:
    """From the states of a tower that takes one frame at a time."""
    outputs = kwargs.get("mm_encoder_outputs") or {}
    states = getattr(outputs.get("video"), "last_hidden_state", None)
    if not isinstance(states, Tensor) or states.ndim != 3 or len(states) % len(lengths):
        return None

    # beams repeat the features of a prompt, and leave the tower's states as they were
    ids = kwargs.get("input_ids")
    if not isinstance(ids, Tensor) or bool((ids[1:] == ids[:-1]).all(dim=1).any()):
        return None
    return [len(states) // len(lengths)] * len(lengths)


def _by_positions(kwargs: Mapping[str, Any], slots: Sequence[Numbers]) -> Frames | None:
    """A frame begins where row and column are those of the video's first token."""
    positions = kwargs.get("position_ids")
    if not isinstance(positions, Tensor) or positions.ndim != 3:
        return None

    # the last two of three or four planes are rows and columns. [2, B * L]
    places = positions[-2:].flatten(1).numpy()
    frames = []
    for of_video in slots:
        own = places[:, of_video]
        starts = np.flatnonzero((own == own[:, :1]).all(axis=0))
        frames.append(np.diff(starts, append=len(of_video)).tolist())

    return frames
