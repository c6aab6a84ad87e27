"""The shape that models of an unlisted type need, in their configuration and in their modules."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from transprune.families.base import Family
from transprune.families.placeholders import DECODERS

# what a forward takes that adds features between layers; their form differs from class to class
BETWEEN_LAYERS = ("deepstack_visual_embeds", "deepstack_features")


def lacks_in_config(config: Any) -> list[str]:
    """What a configuration lacks of the common shape, in words; empty if nothing."""
    lacks = []
    if not is_token_id(getattr(config, "image_token_id", None)):
        lacks.append("an image_token_id, by which visual tokens are found in a prompt")
    if getattr(config, "is_encoder_decoder", False):
        lacks.append("a decoder that reads the picture in its own prompt (it has an encoder)")

    text = config.get_text_config()
    if text is config or not getattr(text, "num_hidden_layers", None):
        lacks.append("the configuration of a language model within it (text_config)")
    elif getattr(text, "cross_attention_layers", None):
        lacks.append("visual tokens in the prompt (its layers attend to the picture from outside)")

    return lacks


def lacks_in_modules(model: nn.Module, family: Family) -> list[str]:
    """What a model lacks of the common shape, in words; empty if nothing."""
    try:
        base = family.base(model)
        layers = family.layers(base)
    except AttributeError:
        return [f"decoder layers under {' or '.join(DECODERS)}"]

    lacks = []
    for part in ("self_attn.q_proj", "self_attn.k_proj", "input_layernorm", "mlp"):
        without = [index for index, layer in enumerate(layers) if not _has(layer, part)]
        if without:
            lacks.append(f"{part} in decoder layer {without[0]}")

    # features that the decoder adds between layers would be added to rows that are gone
    takes = inspect.signature(type(family.decoder(base)).forward).parameters
    added = [name for name in BETWEEN_LAYERS if name in takes]
    if added:
        lacks.append(f"a known form of the features it adds between layers ({added[0]})")

    return lacks


def _has(module: nn.Module, path: str) -> bool:
    """Whether there is a submodule of that path."""
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def has_mrope(config: Any) -> bool:
    """Whether positions have several axes."""
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return "mrope_section" in rope


def is_token_id(token: Any) -> bool:
    """Whether a value of a configuration may be the number of a token."""
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0
