"""VideoLLaMA 3: pictures of any shape; a video's tokens that repeat are left out beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from transprune.families.base import register_family
from transprune.families.placeholders import Placeholders


@register_family("video_llama_3")
class VideoLlama3(Placeholders):
    """VideoLLaMA 3. Its processor compresses videos: what is left of them is pruned here."""

    title: ClassVar[str] = "VideoLLaMA 3"
    described_by: ClassVar[tuple[str, ...]] = (
        *Placeholders.described_by,
        "image_merge_sizes",
        "video_merge_sizes",
        "video_compression_mask",
    )

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Features of each picture or video, without those that the compression leaves out."""
        lengths = super().tokens_per_image(base, kwargs, total)
        kept = kwargs.get("video_compression_mask")
        if kept is None or sum(lengths) != len(kept):
            return lengths
        return [int(part.sum()) for part in kept.split(lengths)]

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches over those of a token, which the call says for each picture."""
        medium = "image" if kwargs.get("image_grid_thw") is not None else "video"
        grids: Tensor = kwargs[f"{medium}_grid_thw"]
        merges: Tensor = kwargs[f"{medium}_merge_sizes"]

        lengths = []
        for (frames, rows, columns), merge in zip(grids, merges, strict=True):
            lengths.append(int(frames * rows * columns) // int(merge) ** 2)
        return lengths

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape."""
        return False
