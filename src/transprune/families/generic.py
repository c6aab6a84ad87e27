"""Models of a type that nobody listed: found by their shape, proven on the model itself.

The common shape: placeholder ids in the prompt, features that are written over their embeddings,
and a decoder that is handed the result. Which types have it, a configuration and the modules say;
whether pruning is right in one of them, `families.proof` finds out on the user's own model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from weakref import WeakSet

from torch import nn

from transprune.errors import FamilyError, PruneWarning, UnknownFamily
from transprune.families.base import FAMILIES, Family, Grid, register_family
from transprune.families.placeholders import Placeholders
from transprune.families.refused import reason_against
from transprune.families.shape import has_mrope, is_token_id, lacks_in_config, lacks_in_modules

_warned: set[str] = set()
_proven: WeakSet[nn.Module] = WeakSet()


@register_family("generic")
class Generic(Placeholders):
    """A model type that no family lists. Nothing is known but its placeholders and its decoder."""

    title: ClassVar[str] = "a type that no family lists"
    kind: ClassVar[str] = "generic"
    support: ClassVar[str] = (
        "nobody tested this model type. It has the common shape: the first session (or doctor "
        "--load) compares a few tokens with the unpruned model, and refuses if they differ"
    )

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """None: where the tokens lie is not known."""
        return None

    def has_fixed_size(self, config: Any) -> bool:
        """Only where the configuration gives the number of tokens itself."""
        return bool(getattr(config, "image_seq_length", None))

    def prove(self, model: nn.Module, session: Callable[..., AbstractContextManager[Any]]) -> None:
        """Compare a few tokens of this model with and without pruning, once.

        Args:
            model: the model, in any mode; it is left as it was.
            session: (recipe, record=...) -> a session of the model that keeps positions.

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
        UnknownFamily: the type is refused by name, or unlisted and its configuration lacks
            something.
        FamilyError: the configuration does not say which token stands for a picture.
    """
    if config.model_type in FAMILIES:
        family = FAMILIES.get(config.model_type)()
        _check_image_token(config, family)
        return family

    reason = reason_against(config.model_type)
    if reason is not None:
        raise UnknownFamily(f"models of type {config.model_type!r} cannot be pruned: {reason}")

    _refuse_if(config, lacks_in_config(config))
    return GenericMRope() if has_mrope(config) else Generic()


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

    check_modules(model, family)
    # once per type and process: a benchmark makes many sessions
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


def check_modules(model: nn.Module, family: Family) -> None:
    """Check that a model of an unlisted type has the modules that pruning needs.

    Raises:
        UnknownFamily: it lacks some.
    """
    if isinstance(family, Generic):
        _refuse_if(model.config, lacks_in_modules(model, family))


def _check_image_token(config: Any, family: Family) -> None:
    """Raise FamilyError if a family that finds visual tokens by the usual id has none."""
    if type(family).visual_mask is not Family.visual_mask:
        return

    token = getattr(config, "image_token_id", None)
    if not is_token_id(token):
        raise FamilyError(
            f"visual tokens are found by image_token_id, a token id in config.json; got {token!r}. "
            "Set it to the id that the tokenizer gives to the processor's image_token"
        )


def _refuse_if(config: Any, lacks: list[str]) -> None:
    """Raise UnknownFamily if something is missing."""
    if lacks:
        raise UnknownFamily(
            f"no family lists models of type {config.model_type!r}, and this one has not the shape "
            f"that is pruned without a family. It lacks {'; '.join(lacks)}. To describe it, write a "
            "Family (CONTRIBUTING, 'Add a family'); `transprune doctor` lists those that there are"
        )
