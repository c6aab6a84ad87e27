"""Read videos without torchvision, which every video processor of transformers needs.

A processor of transformers asks its video processor for pixels and writes the placeholders itself:
numbers of tokens, times between frames, newlines. So a stand-in for that one part is enough. It
does what the class documents, in NumPy and Pillow; with torchvision the class itself is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isqrt
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from transprune.errors import MissingExtra
from transprune.families.base import Grid
from transprune.video.patches import cut_patches, normalised
from transprune.video.resize import (
    cropped,
    resized,
    size_of_clip,
    size_of_frame,
    size_of_shortest,
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

# where a checkpoint keeps the settings; the last one is that of its pictures
FILES = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class PatchReader:
    """Cuts frames into patches, as Qwen's video processors do.

    Attributes:
        size: limits of the number of pixels, `"shortest_edge"` and `"longest_edge"`.
        whole_clip: the limits are those of all frames together, not of one.
        cap_pixels_per_frame: a tighter limit, which recent releases offer.
        max_video_tokens: what it is made of.
        others: as in the settings files of transformers.
    """

    size: Mapping[str, int]
    image_mean: Sequence[float] = CLIP_MEAN
    image_std: Sequence[float] = CLIP_STD
    rescale_factor: float = 1 / 255
    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    whole_clip: bool = False
    cap_pixels_per_frame: bool | None = None
    max_video_tokens: int = 128000
    min_pixels: int | None = None
    max_pixels: int | None = None
    num_frames: ClassVar[None] = None  # chat templates ask for these two
    fps: ClassVar[None] = None

    def __call__(self, videos: Sequence[Frames], **options: Any) -> dict[str, Any]:
        """Patches of all videos, and their grids of time, rows and columns."""
        patches = []
        grids = []
        for frames in videos:
            scaled = resized(frames, self.target(len(frames), frames.shape[1:3]))
            pixels = normalised(scaled, self.image_mean, self.image_std, self.rescale_factor)
            cut, grid = cut_patches(
                pixels, self.patch_size, self.temporal_patch_size, self.merge_size
            )
            patches.append(torch.from_numpy(cut))
            grids.append(grid)

        return {
            "pixel_values_videos": torch.cat(patches),
            "video_grid_thw": torch.tensor(grids, dtype=torch.long),
            "video_metadata": options.get("video_metadata"),
        }

    def target(self, frames: int, size: tuple[int, ...]) -> tuple[int, int]:
        """Height and width that frames of `size` are brought to."""
        height, width = size
        step = self.patch_size * self.merge_size
        least = self.min_pixels or self.size["shortest_edge"]
        most = self.max_pixels or self.size["longest_edge"]
        if self.cap_pixels_per_frame:
            most = self._capped(frames, step, least, most)

        if self.whole_clip:
            time = self.temporal_patch_size
            return size_of_clip(frames, (height, width), step, time, least, most)
        return size_of_frame((height, width), step, least, most)

    def _capped(self, frames: int, step: int, least: int, most: int) -> int:
        """The largest number of pixels if each frame gets an even share of a clip's."""
        floor = int(least * 1.05)
        if self.whole_clip:
            return frames * max(min(self.max_video_tokens * step**2, most // frames), floor)

        of_clip = int(self.max_video_tokens * step**2 * 0.9)
        return max(min(most, of_clip * self.temporal_patch_size // frames), floor)


@dataclass(frozen=True)
class SquareReader:
    """Brings frames to one size, as the video processors of LLaVA's relatives do.

    Attributes:
        size: `"height"` and `"width"`, or `"shortest_edge"`.
        do_center_crop: whether the middle of `crop_size` is cut out.
        others: as in the settings files of transformers.
    """

    size: Mapping[str, int]
    crop_size: Mapping[str, int] | None = None
    do_center_crop: bool | None = None
    image_mean: Sequence[float] = CLIP_MEAN
    image_std: Sequence[float] = CLIP_STD
    rescale_factor: float = 1 / 255
    num_frames: ClassVar[None] = None
    fps: ClassVar[None] = None

    def __call__(self, videos: Sequence[Frames], **options: Any) -> dict[str, Any]:
        """Pixels [videos, F, 3, H, W]; all videos have equally many frames."""
        batch = []
        for frames in videos:
            height, width = frames.shape[1:3]
            scaled = resized(frames, self._target((height, width)))
            if self.do_center_crop and self.crop_size:
                scaled = cropped(scaled, (self.crop_size["height"], self.crop_size["width"]))
            pixels = normalised(scaled, self.image_mean, self.image_std, self.rescale_factor)
            batch.append(torch.from_numpy(pixels))

        return {"pixel_values_videos": torch.stack(batch)}

    def _target(self, size: tuple[int, int]) -> tuple[int, int]:
        if "shortest_edge" in self.size:
            return size_of_shortest(size, self.size["shortest_edge"])
        return self.size["height"], self.size["width"]


Reader = PatchReader | SquareReader

_QWEN2 = PatchReader({"shortest_edge": 128 * 28**2, "longest_edge": 768 * 28**2})
_QWEN3 = PatchReader(
    {"shortest_edge": 128 * 32**2, "longest_edge": 768 * 32**2},
    HALF,
    HALF,
    patch_size=16,
    whole_clip=True,
    max_video_tokens=768,
)
_CROPPED = SquareReader({"shortest_edge": 224}, {"height": 224, "width": 224}, True)

# defaults of the classes; a checkpoint's own files come first
READERS: Mapping[str, Reader] = {
    "llava_next_video": _CROPPED,
    "llava_onevision": SquareReader({"height": 384, "width": 384}),
    "qwen2_5_vl": _QWEN2,
    "qwen2_vl": _QWEN2,
    "qwen3_5": _QWEN3,
    "qwen3_5_moe": _QWEN3,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "video_llava": _CROPPED,
}


def let_read_videos(processor: Any, place: str, model_type: str) -> None:
    """Give a processor that was loaded without its video part a stand-in for it.

    Args:
        processor: of the checkpoint; left alone if it has a video part.
        place: folder or hub id of the checkpoint.
        model_type: of its configuration.

    Raises:
        MissingExtra: no stand-in is known for this type of model.
    """
    # without torchvision it is missing, or holds nothing but what chat templates ask for
    if callable(getattr(processor, "video_processor", None)):
        return
    if model_type not in READERS:
        known = ", ".join(READERS)
        raise MissingExtra(
            f"the processor of {place} reads videos with torchvision only (pip install "
            f"torchvision, of the same build as torch); without it these are read: {known}"
        )

    processor.video_processor = _with_settings(READERS[model_type], _read_settings(place))


def _with_settings(reader: Reader, settings: Mapping[str, Any]) -> Reader:
    """The reader with what a checkpoint sets."""
    names = {field.name for field in fields(reader)} - {"whole_clip"}
    own = {name: settings[name] for name in names if settings.get(name) is not None}
    return type(reader)(**{**vars(reader), **own})


def _read_settings(place: str) -> Mapping[str, Any]:
    """Settings of the video part of a checkpoint; those of its pictures where it has none."""
    from transformers.utils.hub import cached_file

    for name in FILES:
        file = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
        if file is None:
            continue
        with open(file, encoding="utf-8") as text:
            settings: dict[str, Any] = json.load(text)
        if name == FILES[0]:  # all parts of a processor together
            settings = settings.get("video_processor") or {}
        if settings:
            return settings

    return {}


def grid_of_frame(config: Any, inputs: Mapping[str, Any], video: int, tokens: int) -> Grid | None:
    """Rows and columns of the tokens of a video's frames; None where they are not known.

    Args:
        config: of the model.
        inputs: what its processor returned.
        video: number of the video in the prompt.
        tokens: visual tokens of one frame.
    """
    grids = inputs.get("video_grid_thw")
    if grids is None:
        side = isqrt(tokens)  # frames of one size become squares
        return Grid(side, side, cropped=True, total=tokens) if side * side == tokens else None

    merge = config.vision_config.spatial_merge_size
    _, rows, columns = (int(n) for n in grids[video])
    grid = Grid(rows // merge, columns // merge, total=tokens)
    return grid if grid.cells == tokens else None
