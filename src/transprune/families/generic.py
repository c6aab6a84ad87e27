"""Models of a type that nobody listed: found by their shape, proven on the model itself.

The common shape: placeholder ids in the prompt, features that are written over their embeddings,
and a decoder that is handed the result. Which types have it, a configuration and the modules say;
whether pruning is right in one of them, `families.proof` finds out on the user's own model.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from weakref import WeakSet

from torch import nn

from transprune.errors import PruneWarning, UnknownFamily
from transprune.families.base import FAMILIES, Family, Grid, register_family
from transprune.families.placeholders import DECODERS, Placeholders

# what a forward takes that adds features between layers; their form differs from class to class
BETWEEN_LAYERS = ("deepstack_visual_embeds", "deepstack_features")

_warned: set[str] = set()
_proven: WeakSet[nn.Module] = WeakSet()


@register_family("generic")
class Generic(Placeholders):
    """A model type that no family lists. Nothing is known but its placeholders and its decoder."""

    title: ClassVar[str] = "a type that no family lists"

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """None: where the tokens lie is not known."""
        return None

    def has_fixed_size(self, config: Any) -> bool:
        """Only where the configuration gives the number of tokens itself."""
        return bool(getattr(config, "image_seq_length", None))

    def prove(
        self, model: nn.Module, session: Callable[[str], AbstractContextManager[Any]]
    ) -> None:
        """Compare a few tokens of this model with and without pruning, once.

        Args:
            model: the model, in any mode; it is left as it was.
            session: prunes it with the method of that recipe, which keeps positions.

        Raises:
            UnknownFamily: the outputs differ, or the model does not take features of the usual form.
        """
        from transprune.families.proof import prove_on

        if model in _proven:
            return
        _proven.add(model)  # first, because the sessions of the proof ask again
        try:
            prove_on(model, self, session)
        except BaseException:
            _proven.discard(model)
            raise


@register_family("generic_mrope")
class GenericMRope(Generic):
    """The same with positions of three axes."""

    mrope: ClassVar[bool] = True


def family_of(config: Any) -> Family:
    """The family of a configuration: the one that lists its `model_type`, else the generic one.

    Raises:
        UnknownFamily: the type is unlisted, and the configuration lacks something.
    """
    if config.model_type in FAMILIES:
        return FAMILIES.get(config.model_type)()

    _refuse_if(config, lacks_in_config(config))
    return GenericMRope() if _has_mrope(config) else Generic()


def family_of_model(model: nn.Module) -> Family:
    """The family of a model, whose modules are looked at where its type is unlisted.

    `model` is inside no wrapper. Warns, once for each type, that nobody tested it.

    Raises:
        UnknownFamily: the type is unlisted, and configuration or modules lack something.
    """
    config: Any = model.config
    family = family_of(config)
    if not isinstance(family, Generic):
        return family

    _refuse_if(config, lacks_in_modules(model, family))
    if config.model_type not in _warned:
        _warned.add(config.model_type)
        warnings.warn(
            f"nobody tested transprune with models of type {config.model_type!r}; this one has the "
            "common shape, and the first session compares a few tokens with the unpruned model. "
            "Compare answers of your own before you trust the rest",
            PruneWarning,
            stacklevel=3,
        )
    return family


def lacks_in_config(config: Any) -> list[str]:
    """What a configuration lacks of the common shape, in words; empty if nothing."""
    lacks = []
    if not isinstance(getattr(config, "image_token_id", None), int):
        lacks.append("an image_token_id, by which visual tokens are found in a prompt")
    if getattr(config, "is_encoder_decoder", False):
        lacks.append("a decoder that reads the picture in its own prompt (it has an encoder)")

    text = config.get_text_config()
    if text is config or not getattr(text, "num_hidden_layers", None):
        lacks.append("the configuration of a language model within it (text_config)")
    elif getattr(text, "cross_attention_layers", None):
        lacks.append("visual tokens in the prompt (its layers attend to the picture from outside)")
    return lacks


def lacks_in_modules(model: nn.Module, family: Placeholders) -> list[str]:
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


def _has_mrope(config: Any) -> bool:
    """Whether positions have several axes."""
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    return "mrope_section" in rope


def _refuse_if(config: Any, lacks: list[str]) -> None:
    """Raise UnknownFamily if something is missing."""
    if not lacks:
        return
    try:
        FAMILIES.get(config.model_type)
    except UnknownFamily as error:
        raise UnknownFamily(
            f"{error} Nor has it the shape that is pruned without a family; it lacks "
            f"{'; '.join(lacks)}."
        ) from None
