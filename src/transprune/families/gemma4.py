"""Gemma 4: pictures of any shape, averaged patches, and in E2B and E4B an input for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.placeholders import Placeholders
from transprune.families.without_videos import load_with_or_without_videos


@register_family("gemma4")
class Gemma4(Placeholders):
    """Gemma 4 (26B-A4B and 31B; E2B and E4B).

    Layers of E2B and E4B take a second input, one row per token; their last layers read the keys of
    earlier ones. Where a layer has experts beside its MLP, `mlp` is one half of its feed-forward.
    """

    title: ClassVar[str] = "Gemma 4"
    row_arguments: ClassVar[tuple[int, ...]] = (1,)
    described_by: ClassVar[tuple[str, ...]] = (
        *Placeholders.described_by,
        "image_position_ids",
        "video_position_ids",
        "num_frames_per_video",
    )

    def load_processor(self, place: str) -> Any:
        """Without torchvision one that reads pictures only."""
        return load_with_or_without_videos(place, "Gemma4Processor")

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches over the size of the pool; places of -1 are padding. Frames of a video add up."""
        pool = base.config.vision_config.pooling_kernel_size**2
        pictures = kwargs.get("image_position_ids")
        if pictures is not None:
            return [int((place != -1).all(-1).sum()) // pool for place in pictures]

        frames = [int((p != -1).all(-1).sum()) // pool for p in kwargs["video_position_ids"]]
        lengths = []
        for count in kwargs["num_frames_per_video"]:
            lengths.append(sum(frames[: int(count)]))
            frames = frames[int(count) :]

        return lengths

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape."""
        return False
