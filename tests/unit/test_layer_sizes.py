"""Layers of every kind against torch's own counter, on tiny models of the true classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from transprune.cost.geometry import Geometry, known_geometry
from transprune.cost.known_sizes import MODELS
from transprune.cost.layers import kv_bytes, layer_cost

TOKENS = 11
LAYERS = 4
TEXT = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"moe_intermediate_size": 40, "num_experts_per_tok": 2}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 4, 4]}
PARTIAL = {**MROPE, "mrope_section": [1, 1, 1], "partial_rotary_factor": 0.25}
ALTERNATING = {
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 6,
}
DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": PARTIAL,
}

# model type of the language model -> what makes its layers differ
ATTENTION = {
    "llama": {},
    "qwen3_vl_moe_text": {
        **EXPERTS,
        "num_experts": 6,
        "mlp_only_layers": [1],
        "rope_parameters": MROPE,
    },
    "glm4v_moe_text": {
        **EXPERTS,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "rope_parameters": {**MROPE, "mrope_section": [2, 2, 2]},
    },
    "aria_text": {"moe_num_experts": 6, "moe_topk": 2, "moe_num_shared_experts": 2},
    "deepseek_v3": {
        **EXPERTS,
        "head_dim": 8,  # of what is rotated
        "num_key_value_heads": 4,
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 12,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gemma3_text": ALTERNATING,
    "gemma4_text": {
        **ALTERNATING,
        "global_head_dim": 32,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 12,
        "vocab_size_per_layer_input": 50,
    },
    "gemma4_text:experts": {
        **ALTERNATING,
        "global_head_dim": 32,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "hidden_size_per_layer_input": 0,
        "enable_moe_block": True,
        "num_experts": 6,
        "top_k_experts": 2,
        "moe_intermediate_size": 40,
    },
}
RECURRENT = {
    "lfm2": {"full_attn_idxs": [1, 3], "block_multiple_of": 8},
    "qwen3_5_text": DELTA,
    "qwen3_5_moe_text": {
        **DELTA,
        **EXPERTS,
        "num_experts": 6,
        "shared_expert_intermediate_size": 28,
    },
}


def configuration(name: str, changes: dict[str, Any]) -> Any:
    config = transformers.AutoConfig.for_model(name.partition(":")[0], **{**TEXT, **changes})
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"  # grouped products are not counted by torch on a CPU
    return config


def counted(config: Any) -> list[dict[str, int]]:
    """What torch counts in each decoder layer, by operation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config).eval()
    ids = torch.arange(3, 3 + TOKENS)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    layers = [counts[f"{root}.layers.{index}"] for index in range(LAYERS)]
    return [{str(operation): n for operation, n in layer.items()} for layer in layers]


@pytest.mark.parametrize("name", ATTENTION)
def test_every_layer_costs_what_torch_counts(name: str) -> None:
    config = configuration(name, ATTENTION[name])
    sizes = Geometry.from_config(config)
    ours = [layer_cost(sizes, TOKENS, TOKENS, "exact", index=index) for index in range(LAYERS)]
    assert ours == [sum(layer.values()) for layer in counted(config)]


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_cost_what_torch_counts(name: str) -> None:
    config = configuration(name, RECURRENT[name])
    sizes = Geometry.from_config(config)
    for index, layer in enumerate(counted(config)):
        ours = layer_cost(sizes, TOKENS, TOKENS, "exact", index=index)
        if sizes.layer(index).attends:
            assert ours == sum(layer.values())
            continue

        # the module pads its convolution at both ends and throws the surplus away
        kernel = config.conv_L_cache if name == "lfm2" else config.linear_conv_kernel_dim
        convolution = layer["aten.convolution"] * TOKENS // (TOKENS + kernel - 1)
        # torch counts the chunked form of the state, in products of batches; ours is the recurrent
        state = 0 if name == "lfm2" else TOKENS * recurrence(config)
        assert ours == layer["aten.mm"] + convolution + state


def recurrence(config: Any) -> int:
    """What torch counts in one step of the delta rule, written as the paper does."""
    heads, key, value = (
        config.linear_num_value_heads,
        config.linear_key_head_dim,
        config.linear_value_head_dim,
    )
    state = torch.zeros(heads, key, value)
    k, q, v = torch.ones(heads, 1, key), torch.ones(heads, 1, key), torch.ones(heads, 1, value)
    with FlopCounterMode(display=False) as counter:
        error = v - k @ state
        state = state + k.mT @ error
        q @ state
    return counter.get_total_flops()


def test_layers_without_keys_of_their_own_store_none() -> None:
    sizes = Geometry.from_config(configuration("qwen3_5_text", DELTA))
    assert [layer.kv_width for layer in sizes.by_layer] == [0, 0, 0, 48]
    assert kv_bytes(sizes, [10] * LAYERS) == 2 * 10 * 48 * 2

    sizes = Geometry.from_config(configuration("gemma4_text", ATTENTION["gemma4_text"]))
    # sliding layers have heads of 24, full ones of 32; the last two layers share
    assert [layer.kv_width for layer in sizes.by_layer] == [48, 64, 0, 0]
    assert kv_bytes(sizes, [10, 9, 8, 7]) == 2 * (10 * 48 + 9 * 64) * 2


def test_a_recurrent_layer_is_linear_in_tokens_in_both_conventions() -> None:
    sizes = Geometry.from_config(configuration("qwen3_5_text", DELTA))
    for convention in ("paper", "exact"):
        one = layer_cost(sizes, 1, 1, convention, index=0)
        assert layer_cost(sizes, 30, 30, convention, index=0) == 30 * one
        assert layer_cost(sizes, 30, 30, convention, index=3) > 30 * layer_cost(
            sizes, 1, 1, convention, index=3
        )


def test_a_file_reads_back_as_the_object(tmp_path: Any) -> None:
    for name, changes in {**ATTENTION, **RECURRENT}.items():
        config = configuration(name, changes)
        config.save_pretrained(tmp_path)
        assert Geometry.from_config(tmp_path) == Geometry.from_config(config)


# billions of weights of the language model, as its name says; of a mixture in all, and those a token visits
BILLIONS = {
    "Qwen2-VL-2B": (1.5, 1.5),
    "Qwen2-VL-7B": (7.6, 7.6),
    "Qwen2.5-VL-3B": (3.1, 3.1),
    "Qwen3-VL-2B": (1.7, 1.7),
    "Qwen3-VL-4B": (4.0, 4.0),
    "Qwen3-VL-8B": (8.2, 8.2),
    "Qwen3-VL-32B": (32.8, 32.8),
    "Qwen3-VL-30B-A3B": (30.5, 3.3),
    "Qwen3.5-9B": (9.0, 9.0),
    "Qwen3.5-35B-A3B": (35.0, 3.0),
    "InternVL3-8B": (7.6, 7.6),
    "Gemma-3-4B": (3.9, 3.9),
    "Gemma-3-12B": (11.8, 11.8),
    "Gemma-3-27B": (27.0, 27.0),
    "Gemma-4-26B-A4B": (25.2, 3.8),
    "Gemma-4-31B": (30.7, 30.7),
    "SmolVLM2-2.2B": (1.7, 1.7),
    "Mistral-Small-3.1-24B": (23.6, 23.6),
    "LLaVA-OneVision-7B": (7.6, 7.6),
}


@pytest.mark.parametrize("name", BILLIONS)
def test_known_sizes_add_up_to_what_the_name_says(name: str) -> None:
    sizes = known_geometry(name)
    text = MODELS[name][0]
    visited = sum(layer.projections + layer.mlp for layer in map(sizes.layer, range(sizes.layers)))
    asleep = 0
    if "num_experts" in text:
        others = text["num_experts"] - text["num_experts_per_tok"]
        asleep = sizes.layers * others * 3 * sizes.hidden * text["moe_intermediate_size"]

    total, active = BILLIONS[name]
    # the embeddings count once where they are the head too, and twice elsewhere
    low = visited + sizes.hidden * sizes.vocab
    high = low + sizes.hidden * sizes.vocab
    assert 0.95 * low <= active * 1e9 <= 1.05 * high
    assert 0.95 * (low + asleep) <= total * 1e9 <= 1.05 * (high + asleep)


def test_every_known_size_is_checked_and_found_by_its_hub_id() -> None:
    assert set(BILLIONS) == set(MODELS)
    for spelling, name in {
        "Qwen/Qwen3-VL-30B-A3B-Instruct": "Qwen3-VL-30B-A3B",
        "google/gemma-3-4b-it": "Gemma-3-4B",
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503": "Mistral-Small-3.1-24B",
        "llava-hf/llava-onevision-qwen2-7b-ov-hf": "LLaVA-OneVision-7B",
        "OpenGVLab/InternVL3-8B-hf": "InternVL3-8B",
    }.items():
        assert known_geometry(spelling).name == name
