"""LLaVA-OneVision: LLaVA-NeXT's tiles with a SigLIP tower, several images, and videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from transprune.core.library import private
from transprune.families.base import register_family
from transprune.families.llava_next import LlavaNext
from transprune.families.without_videos import load_with_or_without_videos


@register_family("llava_onevision")
class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision (0.5B to 72B).

    A single image is cut into tiles, each of several images in one prompt is not. More than nine
    tiles are scaled down to nine after the projector: tokens of such a picture are no rows of the
    projector, and count as tokens without a patch in methods that read the tower. So are the tokens
    of videos, whose rows are scaled down too.
    """

    title: ClassVar[str] = "LLaVA-OneVision"
    described_by: ClassVar[tuple[str, ...]] = (*LlavaNext.described_by, "batch_num_images")

    def load_processor(self, place: str) -> Any:
        """Without torchvision one that reads pictures only."""
        return load_with_or_without_videos(place, "LlavaOnevisionProcessor")

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Of images the result of the model's own packing; of videos equal shares."""
        videos = kwargs.get("pixel_values_videos")
        if videos is not None:
            return [total // len(videos)] * len(videos) if len(videos) else []

        sizes = kwargs["image_sizes"]
        if len(sizes) == 0:
            return []
        vision = base.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2

        blank = []
        for tiles in self._tiles(base, kwargs):
            blank.append(torch.zeros(tiles, patches, 1, dtype=torch.float32))
        _, lengths = base.pack_image_features(
            blank,
            sizes,
            image_newline=torch.zeros(1, dtype=torch.float32),
            vision_aspect_ratio=base.config.vision_aspect_ratio,
        )
        return [int(length) for length in lengths]

    def _tiles(self, base: Any, kwargs: Mapping[str, Any]) -> list[int]:
        """Tower inputs of each image; one where its sample has several images."""
        image_size_to_num_patches = private(type(base).__module__, "image_size_to_num_patches")
        config = base.config
        sizes = kwargs["image_sizes"]
        in_sample = kwargs.get("batch_num_images")

        alone = [True] * len(sizes)
        if in_sample is not None:
            alone = [int(images) == 1 for images in in_sample for _ in range(int(images))]

        side = config.vision_config.image_size
        tiles = []
        for size, cut in zip(sizes, alone, strict=True):
            number = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
            tiles.append(number if cut else 1)
        return tiles
