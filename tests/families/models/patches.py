"""Families that take patches of pictures of any size: Gemma 4 (two kinds) and LFM2-VL."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from families.case import IMAGE, VIDEO, FamilyCase, Image, noise, text_config

PATCH = 7
GEMMA_LAYERS = ["sliding_attention", "sliding_attention", "full_attention"] * 2 + [
    "sliding_attention",
    "full_attention",
]


def _gemma4(**changes: Any) -> Any:
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "patch_size": PATCH,
        "pooling_kernel_size": 2,
        "position_embedding_size": 64,
    }
    text = text_config(
        "gemma4_text",
        num_key_value_heads=2,
        head_dim=16,
        global_head_dim=32,
        sliding_window=12,
        layer_types=GEMMA_LAYERS,
        vocab_size_per_layer_input=100,
        final_logit_softcapping=30.0,
        **changes,
    )
    return transformers.Gemma4Config(
        vision_config=vision,
        text_config=text,
        audio_config=None,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=94,
    )


def _gemma4_large() -> Any:
    """As 31B: image blocks attend to themselves both ways, keys are values in full layers."""
    return _gemma4(
        hidden_size_per_layer_input=0,
        use_bidirectional_attention="vision",
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
    )


def _gemma4_small() -> Any:
    """As E2B: an input of its own for each layer, and the last layers read keys of earlier ones."""
    return _gemma4(hidden_size_per_layer_input=16, num_kv_shared_layers=3)


def _gemma4_image(number: int) -> Image:
    """8 x 8 patches, or 4 x 8 that are filled up; four become a token."""
    rows, columns = (4, 8) if number == 1 else (8, 8)
    patches = rows * columns
    places = torch.full((1, 64, 2), -1)
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    places[0, :patches] = grid.flip(1)  # x, y
    pixels = torch.zeros(1, 64, 3 * PATCH * PATCH)
    pixels[0, :patches] = noise(number, patches, 3 * PATCH * PATCH).sigmoid()
    return Image(patches // 4, {"pixel_values": pixels, "image_position_ids": places})


def _lfm2_vl() -> Any:
    vision = {
        "model_type": "siglip2_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_patches": 64,
        "patch_size": PATCH,
        "vision_use_head": False,
    }
    text = text_config(
        "lfm2",
        num_key_value_heads=2,
        conv_L_cache=3,
        block_auto_adjust_ff_dim=False,
        layer_types=["conv", "conv", "full_attention", "conv"] * 2,
    )
    return transformers.Lfm2VlConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, projector_hidden_size=48
    )


def _lfm2_image(number: int) -> Image:
    """8 x 8 patches, or 4 x 8 that are filled up; four become a token."""
    rows, columns = (4, 8) if number == 1 else (8, 8)
    patches = rows * columns
    pixels = torch.zeros(1, 64, 3 * PATCH * PATCH)
    pixels[0, :patches] = noise(number, patches, 3 * PATCH * PATCH)
    mask = (torch.arange(64) < patches).int()[None]
    shapes = torch.tensor([[rows, columns]])
    tensors = {"pixel_values": pixels, "spatial_shapes": shapes, "pixel_attention_mask": mask}
    return Image(patches // 4, tensors)


CASES = {
    "gemma4": FamilyCase(_gemma4_large, _gemma4_image, token_types=True, packing="merged"),
    "gemma4_shared": FamilyCase(_gemma4_small, _gemma4_image, token_types=True, packing="merged"),
    "lfm2_vl": FamilyCase(_lfm2_vl, _lfm2_image, packing="merged"),
}
