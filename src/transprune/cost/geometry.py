"""The sizes of a language model, which is all that counting its cost needs.

Weights never enter: a `config.json` is enough, and the models of the published tables are here by name. Only the
decoder is described; of the vision tower one width is kept, because key similarity is measured in it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.errors import FamilyError, UnknownFamily
from transprune.families.nominal import nominal_views
from transprune.registry import did_you_mean

_REQUIRED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
_SIZES = (*_REQUIRED, "num_key_value_heads", "head_dim", "vocab_size")


@dataclass(frozen=True)
class Geometry:
    """Sizes of one language model and of its nominal prompt.

    Attributes:
        name: what to call it in tables.
        layers: decoder layers.
        hidden: width of the residual stream.
        intermediate: width of the gated MLP.
        heads: query heads.
        kv_heads: key/value heads; fewer than `heads` under grouped-query attention.
        head_dim: width of one head.
        vocab: rows of the LM head; 32064 is Vicuna's 32000 as padded in the Hugging Face checkpoints.
        visual_tokens: visual tokens of the nominal input. Real inputs of LLaVA-NeXT and Qwen2.5-VL vary with the image.
        text_tokens: all other prompt tokens, system prompt included; 64 is a short question in LLaVA's template.
        vision_head_dim: head width of the vision tower.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int = 32064
    visual_tokens: int = 576
    text_tokens: int = 64
    vision_head_dim: int = 64

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key (or value) heads together."""
        return self.kv_heads * self.head_dim

    @classmethod
    def from_config(
        cls,
        config: Any,
        *,
        name: str | None = None,
        visual_tokens: int | None = None,
        text_tokens: int = 64,
    ) -> Geometry:
        """Read the sizes from a configuration; no weights are touched.

        Args:
            config: a transformers configuration, a parsed `config.json`, or the path of that file or of its folder.
            name: what to call it; the model type if not given.
            visual_tokens: visual tokens of the nominal input; by default what the configuration says, else the
                patches of the vision tower, else 576.
            text_tokens: text tokens of the nominal prompt.

        Raises:
            FamilyError: the file cannot be read, sizes are missing, or the MLPs are a mixture of experts.
        """
        tree = _as_dict(config)
        text, vision = _text_part(tree), _part(tree, "vision_config")
        if any(text.get(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
            raise FamilyError(
                f"{_title(tree)}: the cost of a mixture of experts depends on its routing and is not counted here. "
                "Build a Geometry by hand with the width of the experts one token visits."
            )
        heads, hidden = _size(text, "num_attention_heads"), _size(text, "hidden_size")
        return cls(
            name=name or _title(tree),
            layers=_size(text, "num_hidden_layers"),
            hidden=hidden,
            intermediate=_size(text, "intermediate_size"),
            heads=heads,
            kv_heads=_size(text, "num_key_value_heads", heads),
            head_dim=_size(text, "head_dim", hidden // heads),
            vocab=_size(text, "vocab_size", _size(tree, "vocab_size", cls.vocab)),
            visual_tokens=_nominal(tree, vision) if visual_tokens is None else visual_tokens,
            text_tokens=text_tokens,
            vision_head_dim=_size(vision, "hidden_size", 1024)
            // _size(vision, "num_attention_heads", 16, "num_heads"),
        )


GEOMETRIES: Mapping[str, Geometry] = {
    sizes.name.lower(): sizes
    for sizes in (
        Geometry("LLaVA-1.5-7B", 32, 4096, 11008, 32, 32, 128),
        Geometry("LLaVA-1.5-13B", 40, 5120, 13824, 40, 40, 128),
        # 2880 is the figure of the papers: five full grids. A real "unpadded" image gives fewer, and newline tokens.
        Geometry("LLaVA-NeXT-7B", 32, 4096, 11008, 32, 32, 128, visual_tokens=2880),
        # Dynamic resolution: 1296 is an image of 1008 x 1008 pixels, 36 x 36 tokens.
        Geometry(
            "Qwen2.5-VL-7B",
            28,
            3584,
            18944,
            28,
            4,
            128,
            152064,
            visual_tokens=1296,
            vision_head_dim=80,
        ),
        Geometry("Video-LLaVA-7B", 32, 4096, 11008, 32, 32, 128, visual_tokens=2048),
    )
}

_ALIASES = {"llava167b": "llavanext7b"}


def known_geometry(name: str) -> Geometry:
    """The named geometry; case, punctuation, an owner (`llava-hf/`) and suffixes such as `-hf` do not matter.

    Raises:
        UnknownFamily: no model of that name, with the closest one.
    """
    key = _key(name)
    for known, sizes in GEOMETRIES.items():
        if _key(known) == _ALIASES.get(key, key):
            return sizes
    raise UnknownFamily(
        f"no model {name!r} by name.{did_you_mean(name.lower(), GEOMETRIES)} Known: {', '.join(GEOMETRIES)}. "
        "For any other model: Geometry.from_config('path/to/config.json')."
    )


def _key(name: str) -> str:
    """A name reduced to what tells models apart: `llava-hf/llava-v1.6-vicuna-7b-hf` -> `llava167b`."""
    return re.sub(r"hf$|instruct$|vicuna|v(?=\d)|[^a-z0-9]", "", name.rsplit("/", 1)[-1].lower())


def _as_dict(config: Any) -> dict[str, Any]:
    """Any accepted form of a configuration as nested plain data."""
    if isinstance(config, (str, os.PathLike)):
        return _read_json(Path(config))
    if isinstance(config, Mapping):
        return dict(config)
    if hasattr(config, "to_dict") and hasattr(config, "get_text_config"):
        text = config.get_text_config()
        return {**config.to_dict(), "text_config": {**text.to_dict(), **_sizes_of(text)}}
    raise FamilyError(
        f"expected a transformers configuration, a dict or a path to config.json; got {type(config).__name__}. "
        "Of a model, pass model.config."
    )


def _read_json(path: Path) -> dict[str, Any]:
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


def _text_part(tree: dict[str, Any]) -> dict[str, Any]:
    """The language model's fields: the nested ones, or the top level of a flat configuration."""
    text = _part(tree, "text_config") or tree
    if not all(text.get(key) for key in _SIZES):
        text = _with_defaults(text)
    missing = [key for key in _REQUIRED if not text.get(key)]
    if missing:
        raise FamilyError(
            f"{_title(tree)}: the configuration of the language model lacks {', '.join(missing)}. "
            "Expected them in 'text_config' or at the top level."
        )
    return text


def _with_defaults(text: dict[str, Any]) -> dict[str, Any]:
    """`text` completed by its own configuration class, if transformers is there and knows the model type.

    The published LLaVA file names "llama" and leaves every default out; Gemma's heads are wider than hidden / heads.
    """
    model_type = text.get("model_type")
    if not isinstance(model_type, str) or "vision_config" in text:
        return text
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
    return {**text, **_sizes_of(config)}


def _sizes_of(config: Any) -> dict[str, Any]:
    """The sizes as attributes: `to_dict()` spells them as the class does, attributes follow the common names."""
    return {key: getattr(config, key, None) for key in _SIZES}


def _nominal(tree: dict[str, Any], vision: dict[str, Any]) -> int:
    """Visual tokens of one nominal input."""
    grid = tree.get("image_seq_length")
    if not grid and vision.get("image_size") and vision.get("patch_size"):
        grid = (_size(vision, "image_size") // _size(vision, "patch_size")) ** 2
    return int(grid or Geometry.visual_tokens) * nominal_views(str(tree.get("model_type")))


def _part(tree: dict[str, Any], key: str) -> dict[str, Any]:
    part = tree.get(key)
    return part if isinstance(part, dict) else {}


def _size(part: dict[str, Any], key: str, default: int | None = None, also: str = "") -> int:
    """The positive int at `key` (or `also`), or the default where the field is absent or null."""
    value = part.get(key, part.get(also))
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FamilyError(f"{key} must be a positive whole number; got {value!r}")
    return value


def _title(tree: dict[str, Any]) -> str:
    return str(tree.get("model_type") or "model")
