"""Read sizes from the configuration of a model: a file, a dict or a transformers object."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from transprune.cost.feed_forward import is_mixture
from transprune.errors import FamilyError
from transprune.families.nominal import MERGED, TOKENS

_REQUIRED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
_SIZES = (*_REQUIRED, "num_key_value_heads", "head_dim", "vocab_size")

# fields of models whose layers are not all alike; what else belongs to them, a class knows
_UNEVEN = (
    "experts",
    "linear_",
    "layer_types",
    "conv_L_cache",
    "lora_rank",
    "kv_shared",
    "full_attention_inter",
)


def config_tree(config: Any) -> dict[str, Any]:
    """Any accepted form of a configuration as nested plain data.

    Raises:
        FamilyError: another type, or a file that cannot be read.
    """
    if isinstance(config, (str, os.PathLike)):
        return _read_json(Path(config))
    if isinstance(config, Mapping):
        return dict(config)

    if hasattr(config, "to_dict") and hasattr(config, "get_text_config"):
        text = config.get_text_config()
        return {**config.to_dict(), "text_config": _fields_of(text)}

    raise FamilyError(
        "expected a transformers configuration, a dict or a path to config.json; got "
        f"{type(config).__name__}. Of a model, pass model.config."
    )


def text_part(tree: dict[str, Any]) -> dict[str, Any]:
    """The language model's fields: the nested ones, or the top level of a flat configuration.

    Raises:
        FamilyError: sizes are missing.
    """
    text = sub_config(tree, "text_config") or tree
    if not all(text.get(key) for key in _SIZES) or _is_uneven(text):
        text = _with_defaults(text)

    missing = [key for key in _REQUIRED if not text.get(key)]
    if missing == ["intermediate_size"] and is_mixture(text):
        return text  # every layer has experts, and these have a width of their own
    if missing:
        raise FamilyError(
            f"{title(tree)}: the configuration of the language model lacks {', '.join(missing)}. "
            "Expected them in 'text_config' or at the top level."
        )

    return text


def grid_tokens(tree: dict[str, Any], vision: dict[str, Any]) -> int | None:
    """Visual tokens of one full grid, as the configuration says or as the tower's patches."""
    for name in TOKENS:
        if tree.get(name):
            return int(tree[name])

    if not (vision.get("image_size") and vision.get("patch_size")):
        return None

    merged = next((tree[name] for name in MERGED if tree.get(name)), 1)
    tokens = 1
    for axis in (0, 1):
        patches = _side(vision, "image_size", axis) // _side(vision, "patch_size", axis)
        tokens *= patches // merged

    return tokens or None


def _side(vision: dict[str, Any], key: str, axis: int) -> int:
    """One side of a size, which may be one number for both."""
    value = vision[key]
    sides = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    return read_size({key: sides[axis]}, key)


def sub_config(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """The nested configuration at `key`, {} if there is none."""
    part = tree.get(key)
    return part if isinstance(part, dict) else {}


def read_size(part: dict[str, Any], key: str, default: int | None = None, also: str = "") -> int:
    """The positive int at `key` (or `also`), or the default where the field is absent or null.

    Raises:
        FamilyError: anything else.
    """
    value = part.get(key, part.get(also))
    if value is None:
        value = default

    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FamilyError(f"{key} must be a positive whole number; got {value!r}")
    return value


def title(tree: dict[str, Any]) -> str:
    """The name of a configuration in tables and errors."""
    return str(tree.get("model_type") or "model")


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a configuration file, or of the `config.json` in a folder."""
    file = path / "config.json" if path.is_dir() else path

    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FamilyError(f"cannot read a configuration from {str(file)!r}: {error}") from error

    if not isinstance(tree, dict):
        raise FamilyError(
            f"{str(file)!r} holds a {type(tree).__name__}; a configuration is a JSON object"
        )

    return tree


def _with_defaults(text: dict[str, Any]) -> dict[str, Any]:
    """`text` completed by its own configuration class, if transformers knows the model type.

    The published LLaVA file names "llama" and leaves every default out; Gemma's heads are wider
    than hidden / heads. Without transformers `text` stays as it is.
    """
    model_type = text.get("model_type")
    if not isinstance(model_type, str) or "vision_config" in text:
        return text

    # late and optional: a complete file needs neither transformers nor torch
    try:
        from transformers import CONFIG_MAPPING
    except ImportError:
        return text

    if model_type not in CONFIG_MAPPING:
        return text
    try:
        config = CONFIG_MAPPING[model_type].from_dict(text)
    except Exception as error:  # its validation errors share no base class with the built-in ones
        raise FamilyError(
            f"transformers refuses this {model_type!r} configuration: {error}"
        ) from error

    return {**text, **_fields_of(config)}


def _is_uneven(text: dict[str, Any]) -> bool:
    """Whether a field says that layers differ, so that the defaults of other such fields count."""
    return any(part in key for key in text for part in _UNEVEN)


def _fields_of(config: Any) -> dict[str, Any]:
    """All fields of a language model's configuration, the sizes in their common names.

    `to_dict()` spells them as each class does, attributes follow the common names.
    """
    fields: dict[str, Any] = dict(config.to_dict())
    for key in _SIZES:
        # heads that differ by layer are no attribute of the whole; `to_dict` has the usual width
        with suppress(RuntimeError):
            fields[key] = getattr(config, key, None)
    return fields
