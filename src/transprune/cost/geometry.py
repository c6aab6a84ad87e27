"""The sizes of a language model: all that counting its cost needs.

Weights never enter: a `config.json` is enough, and the models of the published tables are here by
name. Only the decoder is described; of the vision tower one width is kept, because key similarity
is measured in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from transprune.cost.architecture import read_layers
from transprune.cost.config import (
    config_tree,
    grid_tokens,
    read_size,
    sub_config,
    text_part,
    title,
)
from transprune.cost.feed_forward import visited_width
from transprune.cost.known_sizes import MODELS, model_fields
from transprune.cost.layer_sizes import LayerSizes, plain_layer
from transprune.errors import UnknownFamily
from transprune.families.nominal import nominal_views
from transprune.registry import did_you_mean


@dataclass(frozen=True)
class Geometry:
    """Sizes of one language model and of its nominal prompt.

    Attributes:
        name: what to call it in tables.
        layers: decoder layers.
        hidden: width of the residual stream.
        intermediate: width of the gated MLP; of all experts that one token visits, where the MLPs
            are mixtures.
        heads: query heads.
        kv_heads: key/value heads; fewer than `heads` under grouped-query attention.
        head_dim: width of one head.
        vocab: rows of the LM head; 32064 is Vicuna's 32000 as padded in the Hugging Face
            checkpoints.
        visual_tokens: visual tokens of the nominal input. Real inputs of LLaVA-NeXT and Qwen2.5-VL
            vary with the image.
        text_tokens: all other prompt tokens, system prompt included; 64 is a short question in
            LLaVA's template.
        vision_head_dim: head width of the vision tower.
        by_layer: sizes of each layer, for models whose layers are not all Llama's or not all alike:
            experts, recurrent layers, gated outputs, shared keys. Empty for the others.
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
    by_layer: tuple[LayerSizes, ...] = ()

    @property
    def q_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key (or value) heads together."""
        return self.kv_heads * self.head_dim

    def layer(self, index: int) -> LayerSizes:
        """Sizes of decoder layer `index`."""
        return self.by_layer[index] if self.by_layer else self._usual_layer

    @cached_property
    def _usual_layer(self) -> LayerSizes:
        """Every layer of a model without `by_layer`."""
        return plain_layer(self.hidden, self.q_width, self.kv_width, self.intermediate)

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
            config: a transformers configuration, a parsed `config.json`, or the path of that file
                or of its folder.
            name: what to call it; the model type if not given.
            visual_tokens: visual tokens of the nominal input; by default the number in the
                configuration, else the patches of the vision tower, else 576.
            text_tokens: text tokens of the nominal prompt.

        Raises:
            FamilyError: the file cannot be read, sizes are missing, or layers are of a type that
                is not counted here.
        """
        tree = config_tree(config)
        text = text_part(tree)
        vision = sub_config(tree, "vision_config")

        if visual_tokens is None:
            grid = grid_tokens(tree, vision) or cls.visual_tokens
            visual_tokens = grid * nominal_views(str(tree.get("model_type")))

        heads = read_size(text, "num_attention_heads")
        hidden = read_size(text, "hidden_size")

        # absent fields of the tower take the sizes of CLIP-L, whose heads are 64 wide
        vision_hidden = read_size(vision, "hidden_size", 1024)
        vision_heads = read_size(vision, "num_attention_heads", 16, also="num_heads")

        sizes = cls(
            name=name or title(tree),
            layers=read_size(text, "num_hidden_layers"),
            hidden=hidden,
            intermediate=_width(text),
            heads=heads,
            kv_heads=read_size(text, "num_key_value_heads", heads),
            head_dim=read_size(text, "head_dim", hidden // heads),
            vocab=read_size(text, "vocab_size", read_size(tree, "vocab_size", cls.vocab)),
            visual_tokens=visual_tokens,
            text_tokens=text_tokens,
            vision_head_dim=vision_hidden // vision_heads,
        )

        layers = read_layers(text)
        plain = all(layer == sizes._usual_layer for layer in layers)
        return sizes if plain else replace(sizes, by_layer=layers)


def _width(text: dict[str, Any]) -> int:
    """Width of the MLP, as far as one token visits it."""
    # the field itself first: a value of a wrong type gets the error that names it
    if text.get("intermediate_size") is not None:
        read_size(text, "intermediate_size")
    return visited_width(text)


_KNOWN = (
    Geometry("LLaVA-1.5-7B", 32, 4096, 11008, 32, 32, 128),
    Geometry("LLaVA-1.5-13B", 40, 5120, 13824, 40, 40, 128),
    # 2880 is the figure of the papers: five full grids. A real "unpadded" image gives fewer, and
    # newline tokens.
    Geometry("LLaVA-NeXT-7B", 32, 4096, 11008, 32, 32, 128, visual_tokens=2880),
    # dynamic resolution: 1296 is an image of 1008 x 1008 pixels, 36 x 36 tokens
    Geometry(
        "Qwen2.5-VL-7B",
        layers=28,
        hidden=3584,
        intermediate=18944,
        heads=28,
        kv_heads=4,
        head_dim=128,
        vocab=152064,
        visual_tokens=1296,
        vision_head_dim=80,
    ),
    Geometry("Video-LLaVA-7B", 32, 4096, 11008, 32, 32, 128, visual_tokens=2048),
)

GEOMETRIES: Mapping[str, Geometry] = {geometry.name.lower(): geometry for geometry in _KNOWN}

# other names of known models, as keys -> the key of the known name
_ALIASES = {
    "llava167b": "llavanext7b",
    "llavaonevisionqwen27bov": "llavaonevision7b",
    "llavaonevisionqwen27bovchat": "llavaonevision7b",
}


def known_geometry(name: str) -> Geometry:
    """The geometry of a model of the published tables, or of one that people run.

    Case, punctuation, an owner (`llava-hf/`) and suffixes such as `-hf` do not matter.

    Raises:
        UnknownFamily: no model of that name, with the closest one.
    """
    key = _key(name)
    key = _ALIASES.get(key, key)
    for known, geometry in GEOMETRIES.items():
        if _key(known) == key:
            return geometry
    for known in MODELS:
        if _key(known) == key:
            return Geometry.from_config(model_fields(known), name=known)

    names = [*GEOMETRIES, *(known.lower() for known in MODELS)]
    raise UnknownFamily(
        f"no model {name!r} by name.{did_you_mean(name.lower(), names)} Known: "
        f"{', '.join(names)}. For any other model: "
        "Geometry.from_config('path/to/config.json')."
    )


def _key(name: str) -> str:
    """A name without all that varies: `llava-hf/llava-v1.6-vicuna-7b-hf` -> `llava167b`."""
    base = name.rsplit("/", 1)[-1].lower()
    return re.sub(r"hf$|instruct(-\d+)?$|-it$|vicuna|v(?=\d)|[^a-z0-9]", "", base)
