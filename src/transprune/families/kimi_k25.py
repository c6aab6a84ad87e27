"""Kimi K2.5 and K2.6: attention over compressed keys, so there are no rows of it to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.placeholders import Placeholders


@register_family("kimi_k25")
class KimiK25(Placeholders):
    """Kimi K2.5. Methods that read attention refuse it: it has no `k_proj`."""

    title: ClassVar[str] = "Kimi K2.5"

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches of each picture, or of all frames of a video, over those of a token."""
        rows, columns = base.config.vision_config.merge_kernel_size
        grids = kwargs.get("image_grid_thw")
        if grids is None:
            grids = kwargs["video_grid_thw"]
        return [int(t * h * w) // int(rows * columns) for t, h, w in grids]

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape."""
        return False
