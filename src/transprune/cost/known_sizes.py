"""Sizes of models that people run, from their configurations and model pages. Data only.

Layers whose configuration lists their types are written as a pattern that repeats; a pattern that
does not divide the depth is cut at its end. Sizes that could not be looked up are not here.
"""

from __future__ import annotations

from typing import Any

HYBRID = (*["linear_attention"] * 3, "full_attention")
SLIDING = (*["sliding_attention"] * 5, "full_attention")

# Qwen's towers take any size, in tokens of 28 x 28 or 32 x 32 pixels: 36 or 32 of them each way
QWEN_28 = 1296
QWEN_32 = 1024


def _sizes(
    layers: int,
    hidden: int,
    intermediate: int | None,
    heads: int,
    kv_heads: int,
    width: int,
    vocab: int,
) -> dict[str, Any]:
    """The fields of a dense decoder."""
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width,
        "vocab_size": vocab,
    }


def _delta_net(value_heads: int) -> dict[str, Any]:
    """The recurrent layers of Qwen3.5."""
    return {
        "linear_num_value_heads": value_heads,
        "linear_num_key_heads": 16,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "layer_types": HYBRID,
    }


def _gemma_4(kv_heads: int, *, same: bool) -> dict[str, Any]:
    """Layers over everything have wider heads, and in larger models keys that are values too."""
    return {
        "layer_types": SLIDING,
        "full": {"head_dim": 512, "num_key_value_heads": kv_heads},
        "attention_k_eq_v": same,
    }


def _experts(width: int, visited: int, count: int, shared: int = 0) -> dict[str, Any]:
    return {
        "moe_intermediate_size": width,
        "num_experts_per_tok": visited,
        "num_experts": count,
        "shared_expert_intermediate_size": shared,
    }


# name -> fields of the language model, visual tokens of one picture (InternVL, SmolVLM: of one
# tile), head width of the vision tower
MODELS: dict[str, tuple[dict[str, Any], int, int]] = {
    "Qwen2-VL-2B": (_sizes(28, 1536, 8960, 12, 2, 128, 151936), QWEN_28, 80),
    "Qwen2-VL-7B": (_sizes(28, 3584, 18944, 28, 4, 128, 152064), QWEN_28, 80),
    "Qwen2.5-VL-3B": (_sizes(36, 2048, 11008, 16, 2, 128, 151936), QWEN_28, 80),
    "Qwen3-VL-2B": (_sizes(28, 2048, 6144, 16, 8, 128, 151936), QWEN_32, 64),
    "Qwen3-VL-4B": (_sizes(36, 2560, 9728, 32, 8, 128, 151936), QWEN_32, 64),
    "Qwen3-VL-8B": (_sizes(36, 4096, 12288, 32, 8, 128, 151936), QWEN_32, 72),
    "Qwen3-VL-32B": (_sizes(64, 5120, 25600, 64, 8, 128, 151936), QWEN_32, 72),
    "Qwen3-VL-30B-A3B": (
        {**_sizes(48, 2048, 6144, 32, 4, 128, 151936), **_experts(768, 8, 128)},
        QWEN_32,
        72,
    ),
    "Qwen3.5-9B": ({**_sizes(32, 4096, 12288, 16, 4, 256, 248320), **_delta_net(32)}, QWEN_32, 72),
    "Qwen3.5-35B-A3B": (
        {
            **_sizes(40, 2048, None, 16, 2, 256, 248320),
            **_delta_net(32),
            **_experts(512, 8, 256, 512),
        },
        QWEN_32,
        72,
    ),
    "InternVL3-8B": (_sizes(28, 3584, 18944, 28, 4, 128, 151674), 256, 64),
    "Gemma-3-4B": (_sizes(34, 2560, 10240, 8, 4, 256, 262208), 256, 72),
    "Gemma-3-12B": (_sizes(48, 3840, 15360, 16, 8, 256, 262208), 256, 72),
    "Gemma-3-27B": (_sizes(62, 5376, 21504, 32, 16, 128, 262208), 256, 72),
    "Gemma-4-26B-A4B": (
        {
            **_sizes(30, 2816, 2112, 16, 8, 256, 262144),
            **_experts(704, 8, 128),
            **_gemma_4(2, same=True),
            "enable_moe_block": True,  # beside the MLP
        },
        280,
        72,
    ),
    "Gemma-4-31B": (
        {**_sizes(60, 5376, 21504, 32, 16, 256, 262144), **_gemma_4(4, same=True)},
        280,
        72,
    ),
    "SmolVLM2-2.2B": (_sizes(24, 2048, 8192, 32, 32, 64, 49280), 81, 72),
    "Mistral-Small-3.1-24B": (_sizes(40, 5120, 32768, 32, 8, 128, 131072), 3025, 64),
    "LLaVA-OneVision-7B": (_sizes(28, 3584, 18944, 28, 4, 128, 152064), 729, 72),
}


def model_fields(name: str) -> dict[str, Any]:
    """A configuration with these sizes, as `Geometry.from_config` takes it."""
    fields, tokens, tower_head = MODELS[name]
    text = dict(fields)
    layers = text["num_hidden_layers"]
    pattern = text.pop("layer_types", None)
    full = text.pop("full", None)
    if pattern is not None:
        text["layer_types"] = [pattern[index % len(pattern)] for index in range(layers)]

    if full is not None:
        kinds = enumerate(text["layer_types"])
        text["per_layer_config"] = {i: full for i, kind in kinds if kind == "full_attention"}

    tower = {"hidden_size": tower_head, "num_attention_heads": 1}
    return {"text_config": text, "vision_config": tower, "image_seq_length": tokens}
