"""Qwen-VL: 2, 2.5, 3 and 3.5, dense and mixture of experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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


# what the tokenizers of all of them give
IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
}
EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}


def _qwen2_vl() -> Any:
    vision = {
        "depth": 4,
        "embed_dim": 32,
        "hidden_size": 64,
        "mlp_ratio": 2,
        "num_heads": 4,
        "patch_size": 7,
        "temporal_patch_size": 2,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = text_config("qwen2_vl_text", num_key_value_heads=2, rope_parameters=rope)
    return transformers.Qwen2VLConfig(vision_config=vision, text_config=text, **IDS)


def _vision3(**changes: Any) -> dict[str, Any]:
    return {
        "depth": 5,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 7,
        "temporal_patch_size": 2,
        "num_position_embeddings": 36,
        **changes,
    }


def _interleaved(sections: list[int], **changes: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    return {**rope, "mrope_interleaved": True, **changes}


def _qwen3_vl() -> Any:
    rope = _interleaved([4, 2, 2])
    text = text_config("qwen3_vl_text", num_key_value_heads=2, head_dim=16, rope_parameters=rope)
    vision = _vision3(deepstack_visual_indexes=[1, 2, 3])
    return transformers.Qwen3VLConfig(vision_config=vision, text_config=text, **IDS)


def _qwen3_vl_moe() -> Any:
    rope = _interleaved([4, 2, 2])
    text = text_config(
        "qwen3_vl_moe_text", num_key_value_heads=2, head_dim=16, rope_parameters=rope, **EXPERTS
    )
    vision = _vision3(deepstack_visual_indexes=[1, 2, 3])
    return transformers.Qwen3VLMoeConfig(vision_config=vision, text_config=text, **IDS)


def _hybrid(kind: str, **changes: Any) -> dict[str, Any]:
    """Every fourth layer attends; half of each head is rotated."""
    return text_config(
        kind,
        num_key_value_heads=2,
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        rope_parameters=_interleaved([2, 1, 1], partial_rotary_factor=0.5),
        **changes,
    )


def _qwen3_5() -> Any:
    text = _hybrid("qwen3_5_text")
    return transformers.Qwen3_5Config(vision_config=_vision3(), text_config=text, **IDS)


def _qwen3_5_moe() -> Any:
    text = _hybrid("qwen3_5_moe_text", shared_expert_intermediate_size=32, **EXPERTS)
    return transformers.Qwen3_5MoeConfig(vision_config=_vision3(), text_config=text, **IDS)


def patches(number: int, temporal: int) -> Image:
    """Patches of 7 x 7 pixels, `temporal` frames deep; four of them become a token."""
    grid = torch.tensor([[1, 6, 8] if number == 1 else [1, 8, 8]])
    count = int(grid.prod())
    pixels = noise(number, count, 3 * temporal * 7 * 7)
    return Image(count // 4, {"pixel_values": pixels, "image_grid_thw": grid})


def merged(config: Callable[[], Any], temporal: int = 2) -> FamilyCase:
    """A family whose tower takes the patches of all pictures as one list."""
    return FamilyCase(
        config,
        partial(patches, temporal=temporal),
        brackets=True,
        token_types=True,
        positions=("keep",),
        packing="merged",
    )


CASES = {
    "qwen2_5_vl": merged(_qwen2_5_vl, temporal=1),
    "qwen2_vl": merged(_qwen2_vl),
    "qwen3_5": merged(_qwen3_5),
    "qwen3_5_moe": merged(_qwen3_5_moe),
    "qwen3_vl": merged(_qwen3_vl),
    "qwen3_vl_moe": merged(_qwen3_vl_moe),
}
