"""LLaVA-1.5, LLaVA-NeXT (on three text models) and ViP-LLaVA."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from families.case import IMAGE, FamilyCase, Image, clip_config, noise, text_config


def _llava() -> Any:
    return transformers.LlavaConfig(
        vision_config=clip_config(),
        text_config=text_config("llama"),
        image_token_id=IMAGE,
        vision_feature_layer=-2,
    )


def _vipllava() -> Any:
    return transformers.VipLlavaConfig(
        vision_config=clip_config(),
        text_config=text_config("llama"),
        image_token_index=IMAGE,
        vision_feature_layers=[-2, -3, 1],
    )


def _llava_next() -> Any:
    return transformers.LlavaNextConfig(
        vision_config=clip_config(),
        text_config=text_config("llama"),
        image_token_id=IMAGE,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        vision_feature_layer=-2,
    )


def _llava_next_on(kind: str, **changes: Any) -> Any:
    """LLaVA-NeXT with another text model, whose heads share keys."""
    config = _llava_next()
    text = text_config(kind, num_key_value_heads=2, **changes)
    return transformers.LlavaNextConfig(**{**config.to_dict(), "text_config": text})


def _llava_next_mistral() -> Any:
    return _llava_next_on("mistral", sliding_window=None)


def _llava_next_llama3() -> Any:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    return _llava_next_on("llama", rope_parameters=rope)


def _llava_mistral() -> Any:
    text = text_config("mistral", num_key_value_heads=2, sliding_window=12)
    return transformers.LlavaConfig(
        vision_config=clip_config(), text_config=text, image_token_id=IMAGE, vision_feature_layer=-2
    )


def _llava_image(number: int) -> Image:
    return Image(16, {"pixel_values": noise(number, 1, 3, 28, 28)})


def _llava_next_image(number: int) -> Image:
    # 16 for the overview; 8 x 8 patches of four tiles, unpadded to 6 x 8, or 4 x 8 of two; a newline for each row
    size, tokens = ([28, 56], 16 + 4 * 9) if number == 1 else ([42, 56], 16 + 6 * 9)
    return Image(
        tokens,
        {"pixel_values": noise(number, 1, 5, 3, 28, 28), "image_sizes": torch.tensor([size])},
    )


# a language model that attends to the newest 12 tokens only
WINDOWED = FamilyCase(_llava_mistral, _llava_image)

CASES = {
    "llava": FamilyCase(_llava, _llava_image, clip=True),
    "llava_next": FamilyCase(_llava_next, _llava_next_image, clip=True, packing="tiles"),
    "llava_next_llama3": FamilyCase(
        _llava_next_llama3, _llava_next_image, clip=True, packing="tiles"
    ),
    "llava_next_mistral": FamilyCase(
        _llava_next_mistral, _llava_next_image, clip=True, packing="tiles"
    ),
    "vipllava": FamilyCase(_vipllava, _llava_image),
}
