"""LLaVA-NeXT-Video: LLaVA-NeXT, and videos whose frames are pooled in front of the projector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.images_only import load_with_or_without_videos
from transprune.families.llava_next import LlavaNext


@register_family("llava_next_video")
class LlavaNextVideo(LlavaNext):
    """LLaVA-NeXT-Video: 144 tokens for each frame of a video, without newlines."""

    title: ClassVar[str] = "LLaVA-NeXT-Video"

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Of images as LLaVA-NeXT's; of videos equal shares."""
        videos = kwargs.get("pixel_values_videos")
        if videos is None:
            return super().tokens_per_raw_image(base, kwargs, total)
        return [total // len(videos)] * len(videos) if len(videos) else []

    def load_processor(self, place: str) -> Any:
        """Without torchvision, the parts that need none; videos are then read by a stand-in."""
        return load_with_or_without_videos(place, "LlavaNextVideoProcessor")
