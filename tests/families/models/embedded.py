"""The long tail: families of one table row, and close relatives of those that have a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor

from families.case import (
    IMAGE,
    VIDEO,
    VISION_END,
    VISION_START,
    FamilyCase,
    Image,
    Sample,
    noise,
    text_config,
)
from families.models.merged import ALTERNATING, SIDE, TOKENS, WINDOW, TilesOfSamples
from families.models.onevision import siglip_config


class PrefixTypes(FamilyCase):
    """Token types are 0 in the prompt, which attends to itself both ways."""

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        inputs = super().batch(samples)
        return {**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}


MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def _text(kind: str, **changes: Any) -> dict[str, Any]:
    return text_config(kind, **{"num_key_value_heads": 2, **changes})


def _aya_vision() -> Any:
    text = _text("cohere2", sliding_window=WINDOW, layer_types=ALTERNATING, logit_scale=1.0)
    vision = siglip_config(image_size=SIDE)
    return transformers.AyaVisionConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE
    )


def _paligemma() -> Any:
    return transformers.PaliGemmaConfig(
        vision_config=siglip_config(projection_dim=64),
        text_config=_text("gemma", head_dim=16),
        image_token_index=IMAGE,
        projection_dim=64,
        hidden_size=64,
    )


def _got_ocr2() -> Any:
    vision = {
        "model_type": "got_ocr2_vision",
        "hidden_size": 32,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 128,
        "patch_size": 8,
        "window_size": 8,
        "global_attn_indexes": [1],
        "mlp_dim": 48,
    }
    return transformers.GotOcr2Config(
        vision_config=vision, text_config=_text("qwen2"), image_token_index=IMAGE
    )


def _ovis2() -> Any:
    vision = {
        "model_type": "ovis2_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 7,
        "vocab_size": 64,
        "hidden_stride": 2,
    }
    return transformers.Ovis2Config(
        vision_config=vision,
        text_config=_text("qwen2"),
        image_token_id=IMAGE,
        visual_indicator_token_ids=[91, 92, 93, 94, 95],
        vocab_size=100,
        hidden_size=64,
    )


def _deepseek_vl() -> Any:
    return transformers.DeepseekVLConfig(
        vision_config=siglip_config(), text_config=_text("llama"), image_token_id=IMAGE
    )


def _janus() -> Any:
    vision = {
        "model_type": "janus_vision_model",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "projection_dim": 64,
        "num_image_tokens": 16,
    }
    codes = {
        "embed_dim": 8,
        "num_embeddings": 16,
        "latent_channels": 8,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "num_patches": 4,
        "projection_dim": 64,
        "image_token_embed_dim": 64,
    }
    return transformers.JanusConfig(
        vision_config=vision, text_config=_text("llama"), vq_config=codes, image_token_id=IMAGE
    )


def _idefics2() -> Any:
    vision = siglip_config(model_type="idefics2_vision", image_size=SIDE)
    vision.pop("vision_use_head")
    resampler = {
        "hidden_size": 64,
        "resampler_n_latents": TOKENS,
        "resampler_depth": 1,
        "resampler_n_heads": 4,
        "resampler_head_dim": 16,
        "num_key_value_heads": 2,
    }
    return transformers.Idefics2Config(
        vision_config=vision,
        perceiver_config=resampler,
        text_config=_text("mistral", sliding_window=None),
        image_token_id=IMAGE,
    )


def _pixtral_tower() -> dict[str, Any]:
    return {
        "model_type": "pixtral",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 7,
        "head_dim": 8,
    }


def _lighton_ocr() -> Any:
    return transformers.LightOnOcrConfig(
        vision_config=_pixtral_tower(),
        text_config=_text("qwen3", head_dim=16),
        image_token_id=IMAGE,
    )


def _qianfan_ocr() -> Any:
    vision = {
        "model_type": "qianfan_ocr_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": [SIDE, SIDE],
        "patch_size": [7, 7],
        "layer_scale_init_value": 1.0,
        "drop_path_rate": 0.0,
    }
    return transformers.QianfanOCRConfig(
        vision_config=vision, text_config=_text("qwen3", head_dim=16), image_token_id=IMAGE
    )


def _video_llama_3() -> Any:
    vision = {
        "model_type": "video_llama_3_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "patch_size": 7,
    }
    return transformers.VideoLlama3Config(
        vision_config=vision,
        text_config=_text("qwen2"),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def _paddleocr_vl() -> Any:
    vision = {
        "model_type": "paddleocr_vl_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 7,
    }
    return transformers.PaddleOCRVLConfig(
        vision_config=vision,
        text_config=_text("paddleocr_vl_text", head_dim=16, rope_parameters=MROPE),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )


def _glm_ocr() -> Any:
    vision = {
        "model_type": "glm_ocr_vision",
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "image_size": SIDE,
        "patch_size": 7,
        "temporal_patch_size": 1,
        "out_hidden_size": 64,
    }
    return transformers.GlmOcrConfig(
        vision_config=vision,
        text_config=_text("glm_ocr_text", head_dim=16, rope_parameters=MROPE),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_start_token_id=VISION_START,
        image_end_token_id=VISION_END,
        video_start_token_id=95,
        video_end_token_id=96,
    )


def _exaone4_5() -> Any:
    vision = {
        "model_type": "exaone4_5_vision",
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "num_key_value_heads": 2,
        "patch_size": 7,
        "temporal_patch_size": 1,
        "window_size": 28,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    }
    text = _text("exaone4", sliding_window=WINDOW, layer_types=ALTERNATING)
    return transformers.Exaone4_5_Config(
        vision_config=vision, text_config=text, image_token_id=IMAGE, video_token_id=VIDEO
    )


def _hyperclovax() -> Any:
    vision = {
        "model_type": "qwen2_5_vl_vision",
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "patch_size": 7,
        "temporal_patch_size": 1,
        "window_size": 28,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    }
    return transformers.HyperCLOVAXVisionV2Config(
        vision_config=vision,
        text_config=_text("hyperclovax"),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def _aria() -> Any:
    vision = siglip_config(model_type="idefics3_vision", image_size=SIDE)
    vision.pop("vision_use_head")
    return transformers.AriaConfig(
        vision_config=vision,
        text_config=_text("aria_text", num_attention_heads=2, moe_num_experts=4),
        image_token_index=IMAGE,
        projector_patch_to_query_dict={64: TOKENS},
    )


def _kimi_k25() -> Any:
    vision = {
        "model_type": "kimi_k25_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "patch_size": 7,
    }
    text = text_config(
        "deepseek_v3",
        q_lora_rank=24,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=12,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
    )
    return transformers.Kimi_K25Config(
        vision_config=vision,
        text_config=text,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        projection_hidden_size=32,
    )


def _granite_docling() -> Any:
    vision = siglip_config(model_type="granite_docling_vision", image_size=SIDE)
    vision.pop("vision_use_head")
    vision |= {"out_hidden_size": 64, "scale_factor": 2, "deepstack_visual_indexes": [0, 1]}
    text = _text("granite_docling_text", embedding_multiplier=1.0, attention_multiplier=0.25)
    return transformers.GraniteDoclingConfig(
        vision_config=vision, text_config={**text, "logits_scaling": 1.0}, image_token_id=IMAGE
    )


class TilesWithMask(TilesOfSamples):
    """Besides, which tiles are real, [samples, tiles]."""

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        inputs = super().batch(samples)
        if "pixel_values" in inputs:
            inputs["pixel_attention_mask"] = inputs["pixel_values"].flatten(2).any(dim=-1)
        return inputs


def _pixels(side: int, tokens: int) -> Callable[[int], Image]:
    """Every picture is a square of `side` pixels."""

    def image(number: int) -> Image:
        return Image(tokens, {"pixel_values": noise(number, 1, 3, side, side)})

    return image


def _sized(number: int) -> Image:
    """A picture of its own size, filled up to that of the largest one."""
    height, width = (28, SIDE) if number == 1 else (SIDE, SIDE)
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    pixels[..., :height, :width] = noise(number, 1, 3, height, width)
    tokens = height // 14 * (width // 14)
    return Image(tokens, {"pixel_values": pixels, "image_sizes": torch.tensor([[height, width]])})


def _patches(*shape: int) -> Callable[[int], Image]:
    """Patches of all pictures in one row, four of which become a token."""

    def image(number: int) -> Image:
        grid = torch.tensor([[1, 6, 8] if number == 1 else [1, 8, 8]])
        patches = int(grid.prod())
        return Image(
            patches // 4, {"pixel_values": noise(number, patches, *shape), "image_grid_thw": grid}
        )

    return image


def _with_merge_size(number: int) -> Image:
    image = _patches(3 * 7 * 7)(number)
    return Image(image.tokens, {**image.tensors, "image_merge_sizes": torch.tensor([2])})


FLAT = _patches(3 * 7 * 7)
KEEP = ("keep",)

CASES = {
    "aria": FamilyCase(_aria, _pixels(SIDE, TOKENS)),
    "aya_vision": FamilyCase(_aya_vision, _pixels(SIDE, TOKENS), packing="merged"),
    "deepseek_vl": FamilyCase(_deepseek_vl, _pixels(28, 16)),
    "exaone4_5": FamilyCase(_exaone4_5, FLAT),
    "glm_ocr": FamilyCase(_glm_ocr, FLAT, brackets=True, token_types=True, positions=KEEP),
    "granite_docling": TilesWithMask(_granite_docling, _pixels(SIDE, TOKENS)),
    "hyperclovax_vision_v2": FamilyCase(_hyperclovax, FLAT),
    "idefics2": TilesOfSamples(_idefics2, _pixels(SIDE, TOKENS)),
    "janus": FamilyCase(_janus, _pixels(28, 16)),
    "lighton_ocr": FamilyCase(_lighton_ocr, _sized),
    "ovis2": FamilyCase(_ovis2, _pixels(SIDE, TOKENS)),
    "paddleocr_vl": FamilyCase(
        _paddleocr_vl, _patches(3, 7, 7), brackets=True, token_types=True, positions=KEEP
    ),
    "qianfan_ocr": FamilyCase(_qianfan_ocr, _pixels(SIDE, TOKENS), packing="merged"),
    "video_llama_3": FamilyCase(_video_llama_3, _with_merge_size),
}
# tested by themselves (`test_embedded`): a class without SDPA, attention whose rows cannot be read, and a
# prompt that attends to itself both ways
APART = {
    "got_ocr2": FamilyCase(_got_ocr2, _pixels(128, 16)),
    "kimi_k25": FamilyCase(_kimi_k25, _patches(3, 7, 7)),
    "paligemma": PrefixTypes(_paligemma, _pixels(28, 16)),
}
