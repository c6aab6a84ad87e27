"""The MLP of a decoder layer, or its experts, from the fields of a configuration."""

from __future__ import annotations

from typing import Any

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
VISITED = ("num_experts_per_tok", "top_k_experts", "moe_k", "moe_topk")
SHARED = ("n_shared_experts", "moe_num_shared_experts", "num_shared_experts")


def feed_forward(text: dict[str, Any], index: int) -> int:
    """Multiply-adds of one token in layer `index`.

    The gated MLP; or the router, the experts it chooses and those that are never left out; and the
    two linear maps around the layer's own embedding of a token, where there is one.
    """
    dense = 3 * text["hidden_size"] * _dense_width(text, index)
    if not _is_sparse(text, index):
        return int(dense + _own_embedding(text))

    # with a switch of their own, the experts stand beside the MLP and not in its place
    both = dense if text.get("enable_moe_block") else 0
    return int(_experts(text) + both + _own_embedding(text))


def beside_mlp(text: dict[str, Any], index: int) -> int:
    """Those of `feed_forward` that are no part of the layer's MLP module."""
    beside = _is_sparse(text, index) and text.get("enable_moe_block")
    return int(_own_embedding(text) + (_experts(text) if beside else 0))


def _experts(text: dict[str, Any]) -> int:
    """The router, the experts that it chooses, and those that are never left out."""
    hidden = text["hidden_size"]
    router = hidden * _first(text, EXPERTS)
    shared_gate = hidden if text.get("shared_expert_intermediate_size") else 0
    return int(router + 3 * hidden * visited_width(text) + shared_gate)


def _own_embedding(text: dict[str, Any]) -> int:
    """Down to the width of the layer's own embedding of a token, and up again; 0 without one."""
    return int(2 * text["hidden_size"] * (text.get("hidden_size_per_layer_input") or 0))


def visited_width(text: dict[str, Any]) -> int:
    """Width of the gated MLP, or of all experts together that one token visits."""
    if not is_mixture(text):
        return _dense_width(text)
    return _visited(text) * _expert_width(text) + _shared_width(text)


def is_mixture(text: dict[str, Any]) -> bool:
    """Whether some layers have experts, of which a token visits a few."""
    # one class has the fields of experts in every configuration, and a switch
    return bool(_first(text, EXPERTS)) and text.get("enable_moe_block") is not False


def shares_keys(text: dict[str, Any], index: int) -> bool:
    """Whether this layer reads the keys and values of an earlier one."""
    shared = text.get("num_kv_shared_layers") or 0
    return index >= text["num_hidden_layers"] - shared


def _is_sparse(text: dict[str, Any], index: int) -> bool:
    """Whether this layer has experts; each class says it in its own way."""
    if not is_mixture(text):
        return False
    if kinds := text.get("mlp_layer_types"):
        return bool(kinds[index] == "sparse")
    if (listed := text.get("moe_layers")) is not None:
        return index in listed

    first = text.get("first_k_dense_replace") or text.get("num_dense_layers") or 0
    step = text.get("decoder_sparse_step") or 1
    is_dense = index in (text.get("mlp_only_layers") or ())
    return index >= first and (index + 1) % step == 0 and not is_dense


def _dense_width(text: dict[str, Any], index: int | None = None) -> int:
    """Width of the gated MLP of a layer without experts."""
    width = int(text.get("intermediate_size_mlp") or text.get("intermediate_size") or 0)
    if text.get("block_auto_adjust_ff_dim"):
        width = int(2 * width / 3)
        if (factor := text.get("block_ffn_dim_multiplier")) is not None:
            # rounded up to a multiple
            multiple = text["block_multiple_of"]
            width = multiple * -(-int(factor * width) // multiple)

    doubled = text.get("use_double_wide_mlp") and index is not None and shares_keys(text, index)
    return 2 * width if doubled else width


def _visited(text: dict[str, Any]) -> int:
    """Experts that one token visits; all of them where the configuration does not say."""
    return _first(text, VISITED) or _first(text, EXPERTS)


def _expert_width(text: dict[str, Any]) -> int:
    """Width of one expert; the largest where there are several kinds."""
    width = text.get("moe_intermediate_size") or text.get("intermediate_size") or 0
    return max(width) if isinstance(width, list) else int(width)


def _shared_width(text: dict[str, Any]) -> int:
    """Width of the experts that every token visits."""
    if width := text.get("shared_expert_intermediate_size"):
        return int(width)
    return _first(text, SHARED) * _expert_width(text)


def _first(text: dict[str, Any], names: tuple[str, ...]) -> int:
    """The first of these fields that is there; 0 if none is."""
    for name in names:
        if text.get(name):
            return int(text[name])
    return 0
