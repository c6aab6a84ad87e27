"""LLaVA-NeXT (1.6): several tiles per image, unpadded, with a newline token at the end of each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from transprune.core.library import private
from transprune.families.base import register_family
from transprune.families.llava import Llava


@register_family("llava_next")
class LlavaNext(Llava):
    """LLaVA-NeXT: LLaVA's tower and projector, anyres packing. Newline tokens are visual tokens, as in the papers."""

    title: ClassVar[str] = "LLaVA-NeXT (1.6)"

    def raw_image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """What the model's own packing makes of each image, tried on one channel."""
        image_size_to_num_patches = private(type(base).__module__, "image_size_to_num_patches")
        config = base.config
        side = config.vision_config.image_size
        patches = (side // config.vision_config.patch_size) ** 2
        tiles = [
            image_size_to_num_patches(s, config.image_grid_pinpoints, side)
            for s in kwargs["image_sizes"]
        ]
        blank = [torch.zeros(n, patches, 1) for n in tiles]
        _, lengths = base.pack_image_features(
            blank,
            kwargs["image_sizes"],
            config.vision_feature_select_strategy,
            image_newline=torch.zeros(1),
        )
        return lengths.tolist()
