"""Video-LLaVA: one CLIP-like tower for pictures, one for the frames of videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.placeholders import Placeholders
from transprune.families.without_videos import load_with_or_without_videos


@register_family("video_llava")
class VideoLlava(Placeholders):
    """Video-LLaVA: 256 tokens for a picture, 257 for each of the frames of a video.

    The class token of a frame is a visual token, that of a picture is not. Which of the two towers
    a token came from is not followed, so methods that read the tower refuse this model.
    """

    title: ClassVar[str] = "Video-LLaVA"
    even: ClassVar[bool] = True

    def has_cls(self, base: Any) -> bool:
        """Both towers have one; of pictures it is left out."""
        return True

    def load_processor(self, place: str) -> Any:
        """Without torchvision one that reads pictures only."""
        return load_with_or_without_videos(place, "VideoLlavaProcessor")

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Equal shares of the pictures, or of the videos.

        `generate` encodes all frames of all videos in one row, and does not say where a video
        ends: then a video has the configuration's number of tokens, and where that does not fit,
        all of them count as one.
        """
        outputs = kwargs.get("mm_encoder_outputs") or {}
        if outputs.get("video") is None:
            return super().tokens_per_image(base, kwargs, total)

        tokens = base.config.video_seq_length
        fits = total % tokens == 0
        return [tokens] * (total // tokens) if fits else [total]
