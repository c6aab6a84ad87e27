"""LLaVA-NeXT-Video: LLaVA-NeXT, and videos whose frames are pooled in front of the projector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.base import VisionCapture, VisionRows, register_family
from transprune.families.depths import depth_of, is_attention
from transprune.families.llava_capture import picture_sides, projector_input
from transprune.families.llava_next import LlavaNext
from transprune.families.tower import grid_places, heads_of, saliency_of
from transprune.families.without_videos import load_with_or_without_videos


@register_family("llava_next_video")
class LlavaNextVideo(LlavaNext):
    """LLaVA-NeXT-Video: 144 tokens for each frame of a video, without newlines.

    A frame's patches are pooled two by two; what methods read of them is averaged likewise.
    """

    title: ClassVar[str] = "LLaVA-NeXT-Video"

    def load_processor(self, place: str) -> Any:
        """Without torchvision one that reads pictures only."""
        return load_with_or_without_videos(place, "LlavaNextVideoProcessor")

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Of encoded videos, the tokens of all frames: releases before 5.23 keep frames apart."""
        outputs = kwargs.get("mm_encoder_outputs") or {}
        if outputs.get("video") is None:
            return super().tokens_per_image(base, kwargs, total)
        return [rows.shape[:-1].numel() for rows in outputs["video"].pooler_output]

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Of images as LLaVA-NeXT's; of videos equal shares."""
        videos = kwargs.get("pixel_values_videos")
        if videos is None:
            return super().tokens_per_raw_image(base, kwargs, total)
        return [total // len(videos)] * len(videos) if len(videos) else []

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Of frames, whether the states of the configuration's layer were pooled."""
        if not _is_pooled(base, capture):
            return super().vision_numbers(base, capture)

        states = self._states(base, capture)
        if states is None:  # the tower keeps those of the chosen layer only
            return {"fits": torch.zeros(1, dtype=torch.bool)}

        pooled = base.vision_resampler(states[:, 1:])
        return {"fits": (pooled == projector_input(capture)).all()[None]}

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every frame is a crop of its own.

        Raises:
            MissingSignal: the call chose another layer for its videos than the configuration.
        """
        if not _is_pooled(base, capture):
            return super().vision_rows(base, capture)

        states = self._states(base, capture)
        if states is None or not capture.on_host["fits"].all():
            raise MissingSignal(
                "frames were pooled of other states than those of the configuration's "
                "vision_feature_layer; set it in model.config instead of passing it to the call, "
                "or use a method that reads the projected features only, such as DivPrune"
            )

        pooled = projector_input(capture)  # [C, n, V]
        crop = torch.arange(len(pooled)).repeat_interleave(pooled.shape[1])
        cls = base.multi_modal_projector(states[:, :1])[:, 0]
        return VisionRows(crop, cls, pooled.flatten(0, 1))

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Of frames the mean over the patches that are pooled."""
        if not _is_pooled(base, capture):
            return super().vision_signal(base, capture, name)
        if not is_attention(name):
            return _places(base, capture, name)

        depth = depth_of(name)
        attention = base.vision_tower.encoder.layers[self._layer(base, depth)].self_attn
        heads = 1 if depth == "outer_" else attention.num_heads  # PruMerge takes all heads as one
        query = heads_of(capture.outputs[f"{depth}query"], heads)
        key = heads_of(capture.outputs[f"{depth}key"], heads)  # [C, H, n, d]

        if name.endswith("keys"):
            return _mean(base, capture, key.float().mean(dim=1)[:, 1:])

        saliency = saliency_of(query, key, key.shape[-1] ** -0.5, has_cls=True, name=name)
        return _mean(base, capture, saliency[:, 1:, None])[:, 0]

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """Pictures as LLaVA-NeXT's.

        Raises:
            MissingSignal: a frame, which is pooled at one size only.
        """
        if _is_pooled(base, capture):
            raise MissingSignal(
                f"{self.title} pools the frames of a video at one size and cannot encode a smaller "
                "one; use 'pool' as a control here"
            )
        return super().encode(base, capture, crop, grid)

    def _states(self, base: Any, capture: VisionCapture) -> Tensor | None:
        """States of the configuration's layer, if the tower kept them. [C, n, V]."""
        output: Any = capture.outputs["tower"]
        states: Tensor | None = output.hidden_states[self.feature_layer(base)]
        return states


def _is_pooled(base: Any, capture: VisionCapture) -> bool:
    """Whether the projector was given fewer rows than the tower has patches: frames of a video."""
    rows, columns = picture_sides(base, capture)[0]
    return projector_input(capture).shape[1] < rows * columns


def _mean(base: Any, capture: VisionCapture, patches: Tensor) -> Tensor:
    """Mean over each pooled square. [C, n, d] -> [R, d]."""
    stride = base.config.spatial_pool_stride
    rows, columns = picture_sides(base, capture)[0]
    grid = patches.unflatten(1, (rows, columns))

    # rows and columns that fill no square are left out, as in the model's pooling
    whole = grid[:, : rows - rows % stride, : columns - columns % stride]
    squares = whole.unflatten(2, (-1, stride)).unflatten(1, (-1, stride))
    return squares.mean(dim=(2, 4)).flatten(0, 2)


def _places(base: Any, capture: VisionCapture, name: str) -> Tensor:
    """Row and column of every token in its frame, or the size of that grid. [R, 2]."""
    stride = base.config.spatial_pool_stride
    rows, columns = (side // stride for side in picture_sides(base, capture)[0])
    places = grid_places(rows, columns)
    if name == "grid":
        places = places.new_tensor([[rows, columns]]).expand_as(places)
    return places.repeat(len(projector_input(capture)), 1)
