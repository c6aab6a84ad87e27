"""LLaVA-OneVision, LLaVA-NeXT-Video and Video-LLaVA: pictures and videos in LLaVA's manner."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import transformers

from families.case import IMAGE, VIDEO, FamilyCase, Image, clip_config, noise, text_config

FRAMES = 3


def siglip_config(**changes: Any) -> dict[str, Any]:
    """A tower without CLS token: 4 x 4 patches of a picture of 28 x 28."""
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "vision_use_head": False,
        **changes,
    }


def _llava_onevision() -> Any:
    return transformers.LlavaOnevisionConfig(
        vision_config=siglip_config(),
        text_config=text_config("qwen2", num_key_value_heads=2),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        vision_feature_layer=-1,
    )


def _llava_next_video() -> Any:
    return transformers.LlavaNextVideoConfig(
        vision_config=clip_config(),
        text_config=text_config("llama"),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        vision_feature_layer=-2,
    )


def _video_llava() -> Any:
    return transformers.VideoLlavaConfig(
        vision_config=clip_config(),
        text_config=text_config("llama"),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_seq_length=16,
        video_seq_length=FRAMES * 17,
        vision_feature_layer=-2,
    )


def tiled_image(number: int) -> Image:
    """An overview of 16 tokens, the tiles unpadded to 6 x 8 or 4 x 8, and a newline for each row."""
    size, tokens = ([28, 56], 16 + 4 * 9) if number == 1 else ([42, 56], 16 + 6 * 9)
    return Image(
        tokens,
        {"pixel_values": noise(number, 1, 5, 3, 28, 28), "image_sizes": torch.tensor([size])},
    )


def _one_image(number: int) -> Image:
    # releases before 5.23 have a name of their own for it
    takes = inspect.signature(transformers.VideoLlavaForConditionalGeneration.forward).parameters
    name = "pixel_values" if "pixel_values" in takes else "pixel_values_images"
    return Image(16, {name: noise(number, 1, 3, 28, 28)})


def video(number: int, tokens: int, frames: int = FRAMES) -> Image:
    """A video of `frames` pictures, which becomes `tokens` tokens."""
    return Image(tokens, {"pixel_values_videos": noise(40 + number, 1, frames, 3, 28, 28)})


CASES = {
    "llava_next_video": FamilyCase(_llava_next_video, tiled_image, clip=True, packing="tiles"),
    "llava_onevision": FamilyCase(_llava_onevision, tiled_image, packing="tiles"),
    "video_llava": FamilyCase(_video_llava, _one_image, clip=True),
}
