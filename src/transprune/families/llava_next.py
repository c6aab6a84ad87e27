"""LLaVA-NeXT (1.6): several tiles per image, unpadded, and a newline token after each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.core.library import private
from transprune.families.base import Grid, register_family
from transprune.families.llava import Llava
from transprune.families.tilings import IN_LINES


@register_family("llava_next")
class LlavaNext(Llava):
    """LLaVA-NeXT: LLaVA's tower and projector, anyres packing.

    Newline tokens are visual tokens, as in the papers.
    """

    title: ClassVar[str] = "LLaVA-NeXT (1.6)"

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """The result of the model's own packing, tried on one channel."""
        image_size_to_num_patches = private(type(base).__module__, "image_size_to_num_patches")
        config = base.config
        sizes = kwargs["image_sizes"]
        if len(sizes) == 0:
            return []

        side = config.vision_config.image_size
        patches = (side // config.vision_config.patch_size) ** 2

        # the number depends on tiles, unpadding and newlines: the model's own code knows it best
        blank = []
        for size in sizes:
            tiles = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
            blank.append(torch.zeros(tiles, patches, 1, dtype=torch.float32))

        _, lengths = base.pack_image_features(
            blank,
            sizes,
            kwargs.get("vision_feature_select_strategy") or config.vision_feature_select_strategy,
            image_newline=torch.zeros(1, dtype=torch.float32),
        )
        return [int(length) for length in lengths]

    def tilings(
        self, base: Any, kwargs: Mapping[str, Any], mask: Tensor, lengths: Sequence[int]
    ) -> list[int]:
        """The whole picture, then its tiles in lines. `generate` passes no size of a picture."""
        return [IN_LINES] * len(lengths)

    def join_pictures(self, pictures: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Pixels are [1, tiles, 3, H, W]; empty tiles fill up those with fewer."""
        most = max(picture["pixel_values"].shape[1] for picture in pictures)
        padded = []
        for picture in pictures:
            pixels = picture["pixel_values"]
            # pad counts from the last dimension: W, H, colour, tiles
            fillers = (0, 0, 0, 0, 0, 0, 0, most - pixels.shape[1])
            padded.append({**picture, "pixel_values": torch.nn.functional.pad(pixels, fillers)})

        return super().join_pictures(padded)

    def encode_pictures(
        self, base: Any, pictures: Sequence[Mapping[str, Tensor]]
    ) -> list[list[Tensor]] | None:
        """Not possible: a picture's tiles need its size."""
        return None

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """The whole image comes first; the tokens of its tiles have no place in that grid."""
        side = config.vision_config.image_size // config.vision_config.patch_size
        return Grid(side, side, total=tokens) if tokens >= side**2 else None
