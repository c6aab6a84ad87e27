"""LLaVA-OneVision: LLaVA-NeXT's tiles with a SigLIP tower, several images, and videos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.core.library import private
from transprune.families.base import VisionCapture, VisionRows, register_family
from transprune.families.depths import is_attention
from transprune.families.llava_capture import picture_sides, projector_input
from transprune.families.llava_next import LlavaNext
from transprune.families.tower import grid_places
from transprune.families.without_videos import load_with_or_without_videos


@register_family("llava_onevision")
class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision (0.5B to 72B).

    A single image is cut into tiles, each of several images in one prompt is not. Frames of a video
    are pooled behind the projector, and so are the signals of their patches. More than nine tiles
    are scaled down to nine by the size of the picture, which is not followed: methods that read the
    tower refuse such a picture.
    """

    title: ClassVar[str] = "LLaVA-OneVision"
    one_picture: ClassVar[bool] = False
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

        # the model's own packing decides; blank features of one number each are cheap to pack
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

        # only a picture that is alone in its prompt is cut into tiles
        alone = [True] * len(sizes)
        if in_sample is not None:
            alone = [int(images) == 1 for images in in_sample for _ in range(int(images))]

        side = config.vision_config.image_size
        tiles = []
        for size, cut in zip(sizes, alone, strict=True):
            number = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
            tiles.append(number if cut else 1)

        return tiles

    # ------------------------------------------------------------------------ vision signals

    # Whether a tower input is a tile or a frame, the tower is not told. So every input has two sets
    # of rows, those of the projector and the pooled ones, and a token finds its own by content.

    def candidate_rows(self, base: Any, capture: VisionCapture) -> Tensor:
        """Rows of the projector, then the same pooled."""
        rows = super().candidate_rows(base, capture)
        return torch.cat([rows, _pooled(base, capture, rows)])

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """The pooled rows of an input belong to the same crop; their states are pooled likewise."""
        own = super().vision_rows(base, capture)
        states = own.states
        if states is not None:
            states = torch.cat([states, _pooled(base, capture, states)])

        crops = torch.arange(int(own.crop.max()) + 1)
        each = math.prod(_small_sides(base, capture))
        return VisionRows(torch.cat([own.crop, crops.repeat_interleave(each)]), own.cls, states)

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Of pooled rows, the pooled signal; a smaller grid."""
        values = super().vision_signal(base, capture, name)
        if is_attention(name):
            table = values if values.ndim == 2 else values[:, None]
            return torch.cat([values, _pooled(base, capture, table).view(-1, *values.shape[1:])])

        rows, columns = _small_sides(base, capture)
        places = grid_places(rows, columns)
        if name == "grid":
            places = places.new_tensor([[rows, columns]]).expand_as(places)
        return torch.cat([values, places.repeat(len(projector_input(capture)), 1)])


def _small_sides(base: Any, capture: VisionCapture) -> tuple[int, int]:
    """Pooled tokens down and across; none where a patch was left out in front of the projector."""
    rows, columns = picture_sides(base, capture)[0]
    if projector_input(capture).shape[1] != rows * columns:
        return 0, 0
    return math.ceil(rows / 2), math.ceil(columns / 2)


def _pooled(base: Any, capture: VisionCapture, values: Tensor) -> Tensor:
    """Values of all patches as the model pools a video's rows. [R, d] -> [R', d]."""
    if 0 in _small_sides(base, capture):
        return values[:0]
    inputs = len(projector_input(capture))
    pooled: Tensor = base.apply_pooling(values.unflatten(0, (inputs, -1)))
    return pooled.flatten(0, 1)
