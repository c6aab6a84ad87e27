"""Read the sizes of every decoder layer from the fields of a language model's configuration.

The fields are those of transformers' configuration classes, and so are the formulas: each function
names the linear maps that it counts. Element-wise work (norms, activations, gates that are only
multiplied) counts nowhere, as everywhere in `transprune.cost`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transprune.cost.feed_forward import beside_mlp, feed_forward, shares_keys
from transprune.cost.layer_sizes import LayerSizes
from transprune.errors import FamilyError

DELTA_NET = "linear_attention"
CONVOLUTION = "conv"


def read_layers(text: dict[str, Any]) -> tuple[LayerSizes, ...]:
    """The sizes of every layer.

    Args:
        text: fields of the language model, completed with the defaults of its class.

    Raises:
        FamilyError: a layer of a type that is not counted here.
    """
    layers = []
    for index in range(text["num_hidden_layers"]):
        # classes whose layers differ in their heads say so layer by layer
        own = {**text, **_overrides(text, index)}
        mlp = feed_forward(own, index)

        kind = _kind(own, index)
        if own.get("kv_lora_rank"):
            layers.append(_latent_attention(own, mlp))
        elif kind == DELTA_NET:
            layers.append(LayerSizes(_delta_net(own), 0, 0, 0, mlp))
        elif kind == CONVOLUTION:
            layers.append(LayerSizes(_short_convolution(own), 0, 0, 0, mlp))
        else:
            beside = beside_mlp(own, index)
            layers.append(replace(_attention(own, index, kind, mlp), beside=beside))

    return tuple(layers)


def _kind(text: dict[str, Any], index: int) -> str:
    """The type of a layer, as configurations name them."""
    kinds = text.get("layer_types")
    kind = str(kinds[index]) if kinds else "full_attention"

    if kind != CONVOLUTION and not kind.endswith("attention"):
        raise FamilyError(
            f"the cost of a decoder layer of type {kind!r} is not counted here; known are "
            f"attention, {DELTA_NET!r} (gated delta net) and {CONVOLUTION!r}"
        )

    return kind


def _overrides(text: dict[str, Any], index: int) -> dict[str, Any]:
    """What the configuration says of this layer alone."""
    by_layer = text.get("per_layer_config") or {}
    # keys are numbers, with or without zeros in front
    for key, fields in by_layer.items():
        if int(key) == index:
            return dict(fields)
    return {}


def _attention(text: dict[str, Any], index: int, kind: str, mlp: int) -> LayerSizes:
    """q, k, v and o; a gate of the output where the class has one."""
    hidden = text["hidden_size"]
    heads = text["num_attention_heads"]
    width = text.get("head_dim") or hidden // heads
    q = heads * width

    # layers at the end may read the keys and values of an earlier one
    reads_others = shares_keys(text, index)
    kv = 0 if reads_others else (text.get("num_key_value_heads") or heads) * width

    # full-attention layers may use the projected keys as values too
    same = bool(text.get("attention_k_eq_v")) and kind == "full_attention"
    keys_and_values = hidden * kv * (1 if same else 2)

    outputs = 3 if _is_gated(text) else 2  # q, its gate, o
    work = outputs * hidden * q + keys_and_values
    return LayerSizes(work, keys_and_values, q, kv, mlp, output=hidden * q)


def _latent_attention(text: dict[str, Any], mlp: int) -> LayerSizes:
    """Attention whose queries and keys go through narrow layers (MLA), as transformers runs it.

    d r + r H (n + p) for queries of n plain and p rotated numbers through r; d (c + p) + c H (n + v)
    for keys and values through c; H v d for the output. Keys are stored at full width, and are wider
    than values: the widths here are those of both on average.
    """
    hidden = text["hidden_size"]
    heads = text["num_attention_heads"]
    rotated = text["qk_rope_head_dim"]
    plain = text["qk_nope_head_dim"]
    value = text["v_head_dim"]
    rank = text.get("q_lora_rank")
    width = heads * (plain + rotated)

    queries = hidden * rank + rank * width if rank else hidden * width
    compressed = text["kv_lora_rank"]
    keys_and_values = hidden * (compressed + rotated) + compressed * heads * (plain + value)
    both = (width + heads * value) // 2
    output = heads * value * hidden
    work = queries + keys_and_values + output
    return LayerSizes(work, keys_and_values, both, both, mlp, output=output)


def _is_gated(text: dict[str, Any]) -> bool:
    """Whether `q_proj` gives a gate for each output beside the queries."""
    # models with delta-net layers have it, and their configurations do not always say so
    return bool(text.get("attn_output_gate", text.get("linear_num_value_heads")))


def _delta_net(text: dict[str, Any]) -> int:
    """A gated delta net, one token: linear maps, the convolution, and three products with its state.

    d (2K + 2V + 2H) for q, k, v, the output gate z and the two gates per head; V d for the output;
    c (2K + V) for the convolution over c tokens; 3 H k v for the recurrent form: what the state
    holds for this key, the update, and the query's answer. The chunked form that kernels use for
    long prompts does more.
    """
    hidden = text["hidden_size"]
    heads = text["linear_num_value_heads"]
    key = text["linear_key_head_dim"]
    value = text["linear_value_head_dim"]
    keys = text["linear_num_key_heads"] * key
    values = heads * value

    maps = hidden * (2 * keys + 2 * values + 2 * heads) + values * hidden
    convolution = text["linear_conv_kernel_dim"] * (2 * keys + values)
    return int(maps + convolution + 3 * heads * key * value)


def _short_convolution(text: dict[str, Any]) -> int:
    """A gated short convolution, one token: 3 d^2 in, d^2 out, and d weights for each of c tokens."""
    hidden = text["hidden_size"]
    return int(4 * hidden * hidden + text["conv_L_cache"] * hidden)
