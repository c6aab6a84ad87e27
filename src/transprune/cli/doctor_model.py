"""The checks of a model by `transprune doctor`, as JSON-ready data, from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def check_model(
    source: str, load_weights: bool, methods: Sequence[str] | None = None
) -> dict[str, Any]:
    """How a model is supported, and the methods it can run; weights are read with `load_weights`.

    A model that cannot be pruned has the kind `"refused"` and a reason, and no further entries.

    Args:
        source: `"nano"`, a folder or a hub id.
        load_weights: whether to load the weights, to check all of them. A model of a type that no
            family lists then runs with and without pruning, on a few tokens.
        methods: names, presets or recipes to check; None for every method and preset.

    Raises:
        MethodError: a method of `methods` that does not exist or cannot be built.
        CheckpointError: no readable configuration, or with `load_weights` bad weights.
    """
    from transprune.errors import FamilyError
    from transprune.families.generic import family_of
    from transprune.models.skeleton import build_skeleton
    from transprune.models.source import read_config

    chosen = _named(methods)  # before anything is fetched
    config = read_config(source)
    try:
        family = family_of(config)  # first: a type that is refused here is not built at all
        return _report(source, family, build_skeleton(config, source), chosen, load_weights)
    except FamilyError as error:
        return {
            "source": source,
            "model_type": config.model_type,
            "kind": "refused",
            "reason": str(error),
        }


def _report(
    source: str, family: Any, model: Any, methods: Mapping[str, Any], load_weights: bool
) -> dict[str, Any]:
    """What is known of a model without its weights."""
    from transprune.cli.doctor_weights import check_weights
    from transprune.cost.geometry import Geometry
    from transprune.families.generic import check_modules

    config = model.config
    geometry = Geometry.from_config(config)
    check_modules(model, family)

    base = family.base(model)
    visual = geometry.visual_tokens if family.has_fixed_size(config) else None

    return {
        "source": source,
        "model_type": config.model_type,
        "kind": family.kind,
        "support": family.support,
        "family": family.name,
        "title": family.title,
        "layers": geometry.layers,
        "attention_layers": _attention_layers(geometry),
        "hidden": geometry.hidden,
        "heads": geometry.heads,
        "kv_heads": geometry.kv_heads,
        "visual_tokens": visual,
        "mrope": family.mrope,
        "vision_tower": _tower(family, base),
        "cls_token": family.has_cls(base),
        "processor": _check_processor(source, model),
        "weights": check_weights(source, model, load_weights),
        "methods": {name: _reason_against(model, method) for name, method in methods.items()},
        "notes": _surplus_notes(methods, geometry.layers, visual),
    }


def _attention_layers(geometry: Any) -> list[int]:
    """Numbers of the layers in which tokens attend to each other."""
    return [index for index in range(geometry.layers) if geometry.layer(index).attends]


def _tower(family: Any, base: Any) -> str:
    """The class of the vision tower; empty where the family does not know it."""
    try:
        return type(family.tower(base)).__name__
    except AttributeError:
        return ""


def _check_processor(source: str, model: Any) -> str:
    """The class of the processor, or why it cannot be used with this model."""
    from transprune.errors import PruneError
    from transprune.models.agreement import check_agreement
    from transprune.models.processor import load_processor

    try:
        processor = load_processor(source, model.config.model_type)
        check_agreement(processor, model, source)
        return type(processor).__name__
    except PruneError as error:
        return f"unusable: {error}"


def _named(methods: Sequence[str] | None) -> dict[str, Any]:
    """Name -> method: those that are given, or every method that has defaults and every preset."""
    from transprune.methods.common.recipe import METHODS, preset_names, resolve

    if methods is None:
        names = {*METHODS, *preset_names()}
        methods = sorted(names - {"compose"})  # a composition needs parts
    return {name: resolve(name) for name in methods}


def _surplus_notes(
    methods: Mapping[str, Any], layers: int, visual_tokens: int | None
) -> dict[str, str]:
    """Name -> a sentence, for the methods whose settings drop nothing of a picture here."""
    from transprune.errors import ScheduleError
    from transprune.methods.common.surplus import surplus_notes

    notes: dict[str, str] = {}
    if visual_tokens is None:
        return notes

    for name, method in methods.items():
        try:
            found = surplus_notes(method, layers, visual_tokens)
        except ScheduleError:
            continue  # it does not fit this model, which is said as its reason
        if found:
            notes[name] = "; ".join(found)

    return notes


def _reason_against(model: Any, method: Any) -> str:
    """Why a method does not fit a model; empty if it fits."""
    from transprune.errors import PruneError
    from transprune.session import prune

    try:
        with prune(model, method) as session:
            return _unreadable(model, session.family, method)
    except PruneError as error:
        return str(error)


def _unreadable(model: Any, family: Any, method: Any) -> str:
    """Why the attention that a method reads cannot be read, which a session says as it runs."""
    kinds = family.layer_kinds(family.base(model))
    readings = method.reads_at(len(kinds))
    # any number of tokens: only what is read matters here
    evicted = method.evicts(len(kinds), [1000] * len(kinds))
    reads = [reading.rows or reading.similarity == "layer_keys" for reading in readings]
    if any([*reads, *(kept.rows for kept in evicted)]):
        # a layer with a recurrent state has no projections to look for
        attention = next(kind.mixer for kind in kinds if kind.attends)
        missing = [name for name in ("q_proj", "k_proj") if not hasattr(attention, name)]
        if missing:
            return f"it reads attention, and {type(attention).__name__} lacks {', '.join(missing)}"

    for layer in method.frozen(len(kinds)):
        attention = kinds[layer].mixer
        missing = [name for name in ("k_proj", "v_proj") if getattr(attention, name, None) is None]
        if missing:
            return f"it freezes layer {layer}, whose attention lacks {', '.join(missing)}"

    return ""
