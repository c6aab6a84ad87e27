"""Families that take patches of pictures of any size: Gemma 4 (two kinds), LFM2-VL, Molmo 2, MiniCPM-V 4.6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import Tensor

from families.case import IMAGE, VIDEO, FamilyCase, Image, Sample, noise, text_config

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
        head_dim=8,
        global_head_dim=16,
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
        num_global_key_value_heads=2,
    )


def _gemma4_small() -> Any:
    """As E2B, with an input of its own for each layer; all layers have their own keys."""
    return _gemma4(hidden_size_per_layer_input=32)


def _gemma4_shared() -> Any:
    """As E2B: the last three layers read keys of earlier ones."""
    return _gemma4(hidden_size_per_layer_input=16, num_kv_shared_layers=3)


def _gemma4_experts() -> Any:
    """As 26B-A4B: experts beside the MLP of every layer."""
    return _gemma4(
        hidden_size_per_layer_input=0,
        use_bidirectional_attention="vision",
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=32,
    )


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
        # so that the methods under test find attention on both sides of their boundaries
        layer_types=["conv", *["full_attention"] * 6, "conv"],
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


def _molmo2() -> Any:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "image_size": [56, 56],
        "patch_size": PATCH,
        "num_position_embeddings": 64,
    }
    adapter = {
        "vision_feature_layer": [-1, -2],
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "intermediate_size": 48,
        "text_hidden_size": 64,
    }
    # half of the layers stretch their positions
    rope = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}
    text = text_config(
        "molmo2_text",
        num_key_value_heads=2,
        head_dim=8,
        additional_vocab_size=0,
        rope_parameters=rope,
        rope_scaling_layers=[0, 2, 5, 7],
    )
    return transformers.Molmo2Config(
        vision_config=vision, adapter_config=adapter, text_config=text, image_patch_id=IMAGE
    )


def _molmo2_image(number: int) -> Image:
    """A view of 8 x 8 patches and one crop, four of which become a token."""
    crop = (2, 4) if number == 1 else (4, 4)
    view = torch.arange(64).view(4, 2, 4, 2).transpose(1, 2).reshape(16, 4)
    pooling = torch.cat([view, view[: crop[0] * crop[1]] + 64])
    tensors = {
        "pixel_values": noise(number, 1, 2, 64, 3 * PATCH * PATCH),
        "image_token_pooling": pooling,
        "image_grids": torch.tensor([[4, 4, *crop]]),
    }
    return Image(len(pooling), tensors)


class Pooled(FamilyCase):
    """What each token pools is numbered through the patches of all pictures."""

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        inputs = super().batch(samples)
        first, parts = 0, []
        for image in [image for sample in samples for image in sample.images]:
            parts.append(image.tensors["image_token_pooling"] + first)
            first += image.tensors["pixel_values"].shape[:3].numel()
        return {**inputs, "image_token_pooling": torch.cat(parts)} if parts else inputs


def _minicpmv() -> Any:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 112,
        "patch_size": PATCH,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    text = text_config(
        "qwen3_5_text",
        num_key_value_heads=2,
        head_dim=8,
        rope_parameters={**rope, "mrope_section": [2, 1, 1], "mrope_interleaved": True},
        layer_types=["linear_attention", *["full_attention"] * 6, "linear_attention"],
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
    )
    return transformers.MiniCPMV4_6Config(
        vision_config=vision,
        text_config=text,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        insert_layer_id=0,
    )


class PackedPatches(FamilyCase):
    """Patches of all pictures stand side by side, [1, 3, P, P * n]."""

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        images = [image for sample in samples for image in sample.images]
        bare = [Sample(sample.ids, ()) for sample in samples]
        inputs = super().batch(bare)
        if images:
            inputs["pixel_values"] = torch.cat([i.tensors["pixel_values"] for i in images], dim=-1)
            inputs["target_sizes"] = torch.cat([i.tensors["target_sizes"] for i in images])
        return inputs


def _minicpmv_image(number: int) -> Image:
    rows, columns = (8, 16) if number == 1 else (16, 16)
    pixels = noise(number, 1, 3, PATCH, PATCH * rows * columns)
    sizes = torch.tensor([[rows, columns]], dtype=torch.int32)
    return Image(rows * columns // 16, {"pixel_values": pixels, "target_sizes": sizes})


CASES = {
    "gemma4": FamilyCase(_gemma4_large, _gemma4_image, token_types=True, packing="merged"),
    "gemma4_small": FamilyCase(_gemma4_small, _gemma4_image, token_types=True, packing="merged"),
    "lfm2_vl": FamilyCase(_lfm2_vl, _lfm2_image, packing="merged"),
    "minicpmv4_6": PackedPatches(_minicpmv, _minicpmv_image, packing="merged"),
    "molmo2": Pooled(_molmo2, _molmo2_image, token_types=True, packing="merged"),
}
# tested by themselves (`test_gemma4`): of the first, not every boundary has something to prune
SHARED = FamilyCase(_gemma4_shared, _gemma4_image, token_types=True, packing="merged")
EXPERTS = FamilyCase(_gemma4_experts, _gemma4_image, token_types=True, packing="merged")
