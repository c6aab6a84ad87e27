"""Families whose projector merges patches: InternVL, Gemma 3, SmolVLM, Idefics 3, Command A Vision, Mistral 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import Tensor

from families.case import IMAGE, FamilyCase, Image, Sample, noise, text_config
from families.models.onevision import siglip_config

# 8 x 8 patches, which become 4 x 4 tokens
SIDE, PATCH, TOKENS = 56, 7, 16
WINDOW = 12
# two of three layers see the newest tokens only
ALTERNATING = ["sliding_attention", "sliding_attention", "full_attention"] * 2 + [
    "sliding_attention",
    "full_attention",
]


class TokenTypes(FamilyCase):
    """The processor returns `token_type_ids`, 1 for images, from which the model makes its masks."""

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        inputs = super().batch(samples)
        return {**inputs, "token_type_ids": (inputs["input_ids"] == IMAGE).int()}

    def text_turn(self, ids: Tensor) -> dict[str, Tensor]:
        return {**super().text_turn(ids), "token_type_ids": torch.zeros_like(ids).int()}


class TilesOfSamples(FamilyCase):
    """Pixels are [samples, tiles, 3, H, W]; tiles of zeros fill up the samples that have fewer."""

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        inputs = super().batch(samples)
        if "pixel_values" not in inputs:
            return inputs

        most = max(len(sample.images) for sample in samples)
        pixels = torch.zeros(len(samples), most, 3, SIDE, SIDE)
        for row, sample in enumerate(samples):
            for tile, image in enumerate(sample.images):
                pixels[row, tile] = image.tensors["pixel_values"][0]
        return {**inputs, "pixel_values": pixels}


def _internvl() -> Any:
    vision = {
        "model_type": "internvl_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": [SIDE, SIDE],
        "patch_size": [PATCH, PATCH],
        # 0.1 hides what a layer adds
        "layer_scale_init_value": 1.0,
    }
    return transformers.InternVLConfig(
        vision_config=vision,
        text_config=text_config("qwen2", num_key_value_heads=2),
        image_token_id=IMAGE,
        image_seq_length=TOKENS,
    )


def _gemma3() -> Any:
    text = text_config(
        "gemma3_text",
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        layer_types=ALTERNATING,
    )
    return transformers.Gemma3Config(
        vision_config=siglip_config(image_size=SIDE),
        text_config=text,
        image_token_index=IMAGE,
        mm_tokens_per_image=TOKENS,
    )


def _idefics_like(kind: str, config: type) -> Any:
    vision = siglip_config(model_type=f"{kind}_vision", image_size=SIDE)
    vision.pop("vision_use_head")
    return config(
        vision_config=vision,
        text_config=text_config("llama", num_key_value_heads=2),
        image_token_id=IMAGE,
        scale_factor=2,
    )


def _smolvlm() -> Any:
    return _idefics_like("smolvlm", transformers.SmolVLMConfig)


def _idefics3() -> Any:
    return _idefics_like("idefics3", transformers.Idefics3Config)


def _cohere2_vision() -> Any:
    text = text_config(
        "cohere2",
        num_key_value_heads=2,
        sliding_window=WINDOW,
        layer_types=ALTERNATING,
        logit_scale=1.0,
    )
    return transformers.Cohere2VisionConfig(
        vision_config=siglip_config(image_size=SIDE),
        text_config=text,
        image_token_id=IMAGE,
        alignment_intermediate_size=64,
    )


def _mistral3() -> Any:
    vision = {
        "model_type": "pixtral",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "head_dim": 8,
    }
    return transformers.Mistral3Config(
        vision_config=vision,
        text_config=text_config("mistral", num_key_value_heads=2, sliding_window=None),
        image_token_index=IMAGE,
    )


def _square(number: int) -> Image:
    return Image(TOKENS, {"pixel_values": noise(number, 1, 3, SIDE, SIDE)})


def _any_shape(number: int) -> Image:
    """A picture of its own size, filled up to that of the largest one."""
    height, width = (28, SIDE) if number == 1 else (SIDE, SIDE)
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    pixels[..., :height, :width] = noise(number, 1, 3, height, width)
    tokens = height // 14 * (width // 14)
    return Image(tokens, {"pixel_values": pixels, "image_sizes": torch.tensor([[height, width]])})


CASES = {
    "cohere2_vision": FamilyCase(_cohere2_vision, _square, packing="merged"),
    "gemma3": TokenTypes(_gemma3, _square, packing="merged"),
    "idefics3": TilesOfSamples(_idefics3, _square, packing="merged"),
    "internvl": FamilyCase(_internvl, _square, packing="merged"),
    "mistral3": FamilyCase(_mistral3, _any_shape, packing="merged"),
    "smolvlm": TilesOfSamples(_smolvlm, _square, packing="merged"),
}
