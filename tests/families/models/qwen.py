"""Qwen-VL."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from families.case import (
    IMAGE,
    VIDEO,
    VISION_END,
    VISION_START,
    FamilyCase,
    Image,
    noise,
    text_config,
)


def _qwen2_5_vl() -> Any:
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "window_size": 28,
        "fullatt_block_indexes": [3],
        "in_channels": 3,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = text_config("qwen2_5_vl_text", num_key_value_heads=2, rope_parameters=rope)
    return transformers.Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )


def _qwen_image(number: int) -> Image:
    grid = torch.tensor([[1, 6, 8] if number == 1 else [1, 8, 8]])
    patches = int(grid.prod())
    return Image(
        patches // 4, {"pixel_values": noise(number, patches, 3 * 7 * 7), "image_grid_thw": grid}
    )


CASES = {
    "qwen2_5_vl": FamilyCase(
        _qwen2_5_vl,
        _qwen_image,
        brackets=True,
        token_types=True,
        positions=("keep",),
        packing="merged",
    ),
}
