"""Mistral Small 3.1 and 3.2, Ministral 3 and Pixtral as `mistral3`: pictures of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transprune.families.base import Grid, register_family
from transprune.families.placeholders import Placeholders


@register_family("mistral3")
class Mistral3(Placeholders):
    """Mistral 3: 2 x 2 patches of a Pixtral tower become a token.

    The row breaks of the prompt ([IMG_BREAK], [IMG_END]) are text, which is never dropped.
    """

    title: ClassVar[str] = "Mistral 3 / Pixtral"

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """As many as the sizes say, which come beside the pixels."""
        side = _side(base.config)
        return [(int(h) // side) * (int(w) // side) for h, w in kwargs["image_sizes"]]

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """As the sizes say."""
        sizes = inputs.get("image_sizes")
        if sizes is None:
            return None

        rows, columns = (int(pixels) // _side(config) for pixels in sizes[image])
        grid = Grid(rows, columns, total=tokens)
        return grid if grid.cells == tokens else None

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape; `image_size` is the largest side."""
        return False


@register_family("lighton_ocr")
class LightOnOCR(Mistral3):
    """LightOnOCR: Mistral 3's tower and merging, a Qwen3 text model."""

    title: ClassVar[str] = "LightOnOCR"


def _side(config: Any) -> int:
    """Pixels along one side of the square that becomes a token."""
    return int(config.vision_config.patch_size * config.spatial_merge_size)
