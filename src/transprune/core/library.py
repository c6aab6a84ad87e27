"""What we use of transformers beyond its documented interface, in one place.

Minor releases of transformers rename such things. Every use goes through this file, so that a name
that moved is an error that says so when a session is attached, and never a wrong number.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from transprune.errors import CacheError, FamilyError, PruneWarning, TransformersError

SUPPORTED = ">=5.19,<6"  # what the package metadata allows
TESTED = ">=5.19,<5.25"

# 5.24 renamed the cache argument of layers, decoders and models, and the field of their outputs
CACHE_NAMES = ("cache", "past_key_values")

_warned = False


def private(module: str, name: str) -> Any:
    """The object `name` of transformers' `module`.

    Raises:
        TransformersError: this release of transformers does not have it there.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TransformersError(
            f"this release of transformers has no {module}.{name}, which pruning builds on. "
            f"Install one within {TESTED}: pip install 'transformers{TESTED}'"
        ) from error


def where_there(module: str, *names: str) -> tuple[Any, ...]:
    """Those objects of transformers' `module` that this release has."""
    found = [getattr(import_module(module), name, None) for name in names]
    return tuple(item for item in found if item is not None)


def warn_if_untested() -> None:
    """Warn, once per process, about a transformers release that the tests do not cover."""
    global _warned
    # here, because importing transformers takes seconds
    from packaging.specifiers import SpecifierSet
    from transformers import __version__ as version

    if _warned or SpecifierSet(TESTED).contains(version.partition("+")[0], prereleases=True):
        return

    _warned = True
    warnings.warn(
        f"transformers {version} is outside the range transprune is tested with ({TESTED}); "
        "compare a few answers with an unpruned run before you trust the rest",
        PruneWarning,
        stacklevel=4,
    )


def check_decoder_layer(layer: Any) -> None:
    """Check that a decoder layer takes the arguments that the runtime reads and replaces.

    Raises:
        FamilyError: the layer is inside a wrapper that passes on any arguments.
        TransformersError: an argument is missing, so pruning would not reach what the layer really
            uses.
    """
    layer = getattr(layer, "_orig_mod", layer)  # compiled by torch.compile
    # of the class: wrappers of an instance's forward (offloading) take *args and **kwargs
    parameters = inspect.signature(type(layer).forward).parameters
    if all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in list(parameters.values())[1:]):
        raise FamilyError(
            f"a decoder layer is inside a {type(layer).__name__}, whose arguments pruning cannot "
            "see; take the wrapper off before prune"
        )

    wanted: dict[str, tuple[str, ...]] = {
        "attention_mask": ("attention_mask",),
        "position_embeddings": ("position_embeddings",),
        "the key/value cache": CACHE_NAMES,
    }

    missing = []
    for what, names in wanted.items():
        if parameters.keys().isdisjoint(names):
            missing.append(what)
    if missing:
        raise TransformersError(
            f"{type(layer).__name__} of this transformers release takes no argument for "
            f"{', '.join(missing)} (it takes {', '.join(parameters)}). "
            f"Install a release within {TESTED}."
        )


def check_checkpointing(layer: Any) -> None:
    """Refuse a layer whose gradient checkpointing would run our hooks again in the backward pass.

    Up to 5.22.2 the whole call of a layer is checkpointed, hooks included; later releases
    checkpoint its forward only.

    Raises:
        TransformersError: this layer is checkpointed in that way.
    """
    from torch import nn

    checkpointed = getattr(layer, "gradient_checkpointing", False) and layer.training
    # those releases override __call__, inside which hooks run
    if checkpointed and type(layer).__call__ is not nn.Module.__call__:
        raise TransformersError(
            "gradient checkpointing of this transformers release runs a pruned layer again without "
            "the tokens it was pruned to; install 5.23 or newer, or call "
            "model.gradient_checkpointing_disable()"
        )


def cache_of(kwargs: Mapping[str, Any]) -> Any:
    """The cache among the keyword arguments of a call, or None."""
    for name in CACHE_NAMES:
        if kwargs.get(name) is not None:
            return kwargs[name]
    return None


def cache_length(cache: Any) -> int:
    """Tokens in a cache.

    Raises:
        CacheError: it is no cache.
    """
    if not hasattr(cache, "get_seq_length"):
        raise CacheError(
            f"a key/value cache is a transformers DynamicCache; got a {type(cache).__name__}"
        )

    layers = getattr(cache, "layers", None)
    # a pruned static cache knows on the host what the device would have to be asked for
    known = getattr(layers[0], "host_length", None) if layers else None
    return int(cache.get_seq_length()) if known is None else int(known)


def past_length(kwargs: Mapping[str, Any]) -> int:
    """Tokens of earlier turns, in the cache among the keyword arguments of a call.

    Raises:
        CacheError: as `cache_length`.
    """
    cache = cache_of(kwargs)
    return 0 if cache is None else cache_length(cache)


def cache_keyword(kwargs: Mapping[str, Any]) -> str:
    """The name under which a layer was given its cache."""
    for name in CACHE_NAMES:
        if name in kwargs:
            return name
    return CACHE_NAMES[-1]


def cache_of_output(output: Any) -> Any:
    """The cache in the output of a model, or None."""
    return cache_of({name: value for name, value in vars(output).items() if name in CACHE_NAMES})


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """`cache` as a keyword argument of `model`, under the name that this release uses."""
    parameters = inspect.signature(type(model).forward).parameters
    name = next((name for name in CACHE_NAMES if name in parameters), CACHE_NAMES[-1])
    return {name: cache}
