"""GLM-4.1V, 4.5V and 4.6V."""

from __future__ import annotations

from typing import Any

import transformers

from families.case import IMAGE, VIDEO, VISION_END, VISION_START, text_config
from families.models.qwen import merged

IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "image_start_token_id": VISION_START,
    "image_end_token_id": VISION_END,
    "video_start_token_id": 94,
    "video_end_token_id": 95,
}


def _vision() -> dict[str, Any]:
    return {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 64,
        "image_size": 42,
        "patch_size": 7,
        "temporal_patch_size": 2,
    }


def _text(kind: str, **changes: Any) -> dict[str, Any]:
    """Half of each head is rotated."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    rope["partial_rotary_factor"] = 0.5
    return text_config(kind, num_key_value_heads=2, rope_parameters=rope, **changes)


def _glm4v() -> Any:
    text = _text("glm4v_text")
    return transformers.Glm4vConfig(vision_config=_vision(), text_config=text, **IDS)


def _glm46v() -> Any:
    vision = {**_vision(), "model_type": "glm4v_vision"}
    return transformers.Glm46VConfig(vision_config=vision, text_config=_text("glm4v_text"), **IDS)


def _glm4v_moe() -> Any:
    text = _text(
        "glm4v_moe_text",
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
    )
    return transformers.Glm4vMoeConfig(vision_config=_vision(), text_config=text, **IDS)


CASES = {"glm46v": merged(_glm46v), "glm4v": merged(_glm4v), "glm4v_moe": merged(_glm4v_moe)}
