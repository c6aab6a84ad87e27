"""One decoder layer, as its family describes it.

Most decoder layers are alike: attention over the layer's own keys, then an MLP. What differs in some
families stands here and not in a hook: layers with a recurrent state in place of keys, layers that
read the keys of another layer, rotary tables of several kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from transprune.errors import FamilyError
from transprune.families.rotation import Rotary, Rotation

if TYPE_CHECKING:
    from transprune.families.base import Family

MIXERS = ("self_attn", "linear_attn", "conv", "short_conv")
NORMS = ("input_layernorm", "operator_norm")
WINDOWED = ("sliding_attention", "chunked_attention")
OUTPUTS = ("o_proj", "out_proj")
MLPS = ("mlp", "feed_forward", "block_sparse_moe")


@dataclass(frozen=True)
class LayerKind:
    """What the runtime needs to know of a decoder layer.

    Attributes:
        family: how queries and keys are made of what the mixer projects.
        mixer: the module in which tokens meet: attention, or a recurrence.
        norm: the module that normalises the mixer's input, or None where it is not known.
        mlp: the module behind the mixer, or None where it is not known.
        attends: the mixer is attention, which stores keys in the cache; otherwise it carries a
            state.
        keys_of: 0-based layer whose keys this one reads; None where it has its own.
        type: the layer's type, where a model has several.
        rotary: makes its tables of cos and sin, or None.
        windowed: its rows attend to the newest keys only, or to those of their chunk.
    """

    family: Family
    mixer: Any
    norm: Any
    mlp: Any
    attends: bool = True
    keys_of: int | None = None
    type: str | None = None
    rotary: Rotary | None = None
    windowed: bool = False

    @property
    def stores_keys(self) -> bool:
        """The layer has keys of its own in the cache."""
        return self.attends and self.keys_of is None

    @property
    def normalises_queries(self) -> bool:
        """Queries are normalised head by head, so they are no linear function of the input."""
        return _first(self.mixer, ("q_norm", "q_layernorm")) is not None

    @property
    def query_groups(self) -> int:
        """Query heads that share the keys of one head."""
        return int(getattr(self.mixer, "num_key_value_groups", 1))

    @property
    def output(self) -> Any:
        """The module that puts the heads together again, or None where it is not known."""
        return _first(self.mixer, OUTPUTS)

    @cached_property
    def rotation(self) -> Rotation | None:
        """(queries, keys, cos, sin) -> both rotated; None where this layer does not rotate."""
        return self.family.rotation(self.mixer)

    def queries(self, projected: Tensor) -> Tensor:
        """[B, L, W] of the query projection -> [B, H, L, d], not yet rotated."""
        return self.family.query_heads(self.mixer, projected)

    def keys(self, projected: Tensor) -> Tensor:
        """[B, L, W] of the key projection -> [B, Hkv, L, d], not yet rotated."""
        return self.family.key_heads(self.mixer, projected)

    def values(self, projected: Tensor) -> Tensor:
        """[B, L, W] of the value projection -> [B, Hkv, L, d]."""
        return split_heads(self.mixer, projected, "v_norm")


@dataclass(frozen=True)
class AddedFeatures:
    """What a decoder adds to visual rows behind some of its layers (DeepStack).

    Attributes:
        by_layer: 0-based decoder layer -> [N, D], one row for each visual token of the batch.
        mask: bool [B, L], the slots they belong to, in order.
    """

    by_layer: dict[int, Tensor]
    mask: Tensor


def layer_kind(
    family: Family, decoder: Any, layers: list[Any], index: int, keys_of: int | None
) -> LayerKind:
    """The kind of `layers[index]`, by the names that transformers gives its modules.

    Args:
        family: whose layers they are.
        decoder: the module that runs them.
        layers: those that run.
        index: 0-based.
        keys_of: the layer whose keys it reads, or None.

    Raises:
        FamilyError: the layer has no module of a known name in which tokens meet.
    """
    layer = layers[index]
    mixer = _first(layer, MIXERS)
    if mixer is None:
        raise FamilyError(
            f"{type(layer).__name__} has no module in which tokens meet under a known name "
            f"({', '.join(MIXERS)}), so {family.title or 'this model'} cannot be pruned"
        )

    types = getattr(decoder.config, "layer_types", None)
    kind = getattr(mixer, "layer_type", types[index] if types else None)

    return LayerKind(
        family=family,
        mixer=mixer,
        norm=_first(layer, NORMS),
        mlp=_first(layer, MLPS),
        attends=getattr(layer, "self_attn", None) is not None,
        keys_of=keys_of,
        type=kind,
        rotary=Rotary.of(getattr(decoder, "rotary_emb", None), kind),
        windowed=_is_windowed(decoder.config, types[index] if types else None),
    )


def _is_windowed(config: Any, kind: str | None) -> bool:
    """Whether a layer of this type attends to a part of the keys in front of a row only."""
    if kind is not None:
        return kind in WINDOWED
    # one window for all layers, as in Mistral
    return getattr(config, "sliding_window", None) is not None


def owners(layers: list[Any]) -> list[int | None]:
    """For each layer the one whose keys it reads; None for those with keys of their own."""
    newest: dict[Any, int] = {}
    found: list[int | None] = []
    for index, layer in enumerate(layers):
        attention = getattr(layer, "self_attn", None)
        kind = getattr(attention, "layer_type", None)
        if getattr(attention, "is_kv_shared_layer", False):
            found.append(newest[kind])
            continue

        found.append(None)
        if getattr(attention, "store_full_length_kv", False):
            newest[kind] = index

    return found


def split_heads(attention: Any, projected: Tensor, norm: str = "") -> Tensor:
    """[B, L, H * d] -> [B, H, L, d], with the per-head norm `norm` if the attention has one."""
    # the number of heads by name: of no row it could not be inferred
    count = projected.shape[-1] // attention.head_dim
    heads = projected.view(*projected.shape[:-1], count, attention.head_dim)
    normalise = getattr(attention, norm, None) if norm else None
    if normalise is not None:
        heads = normalise(heads)
    return heads.transpose(1, 2)


def _first(module: Any, names: tuple[str, ...]) -> Any:
    """The first submodule that `module` has, or None."""
    for name in names:
        found = getattr(module, name, None)
        if found is not None:
            return found
    return None
