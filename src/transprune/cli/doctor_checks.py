"""The checks of `transprune doctor`, as JSON-ready data."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transprune.cli.units import mebibytes
from transprune.core.library import SUPPORTED as SUPPORTED_TRANSFORMERS

SUPPORTED = {"python": ">=3.10", "torch": ">=2.6", "transformers": SUPPORTED_TRANSFORMERS}


def check_machine() -> dict[str, Any]:
    """Versions, devices, attention implementations, families, and a test of the bundled model."""
    from transformers.utils import is_flash_attn_2_available, is_torchvision_available

    from transprune.families import FAMILIES

    versions = _check_versions()
    supported = all(entry["ok"] for entry in versions.values())
    bundled = _try_bundled()

    attention = ["sdpa", "eager"]  # always there: torch and transformers bring them
    if is_flash_attn_2_available():
        attention.append("flash_attention_2")

    return {
        "ok": supported and bundled == "loads",
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
        "versions": versions,
        "devices": _devices(),
        "attention": attention,
        "torchvision": bool(is_torchvision_available()),
        "families": {name: FAMILIES.get(name).title for name in FAMILIES},
        "bundled_model": bundled,
    }


def check_model(
    source: str, load_weights: bool, methods: Sequence[str] | None = None
) -> dict[str, Any]:
    """The structure of a model, and the methods it can run; weights are read with `load_weights`.

    Args:
        source: `"nano"`, a folder or a hub id.
        load_weights: whether to load the weights, to check all of them.
        methods: names, presets or recipes to check; None for every method and preset.

    Raises:
        MethodError: a method of `methods` that does not exist or cannot be built.
        CheckpointError: no readable configuration, or with `load_weights` bad weights.
        UnknownFamily: no family supports this type of model.
    """
    from transprune.cost.geometry import Geometry
    from transprune.families import FAMILIES
    from transprune.models.skeleton import build_skeleton
    from transprune.models.source import read_config

    chosen = _named(methods)  # before anything is fetched
    config = read_config(source)
    family = FAMILIES.get(config.model_type)()
    geometry = Geometry.from_config(config)
    model = build_skeleton(config, source)
    base = family.base(model)

    visual = geometry.visual_tokens if family.has_fixed_size(config) else None
    return {
        "source": source,
        "family": family.name,
        "title": family.title,
        "layers": geometry.layers,
        "hidden": geometry.hidden,
        "heads": geometry.heads,
        "kv_heads": geometry.kv_heads,
        "visual_tokens": visual,
        "mrope": family.mrope,
        "vision_tower": type(family.tower(base)).__name__,
        "cls_token": family.has_cls(base),
        "processor": _check_processor(source, model),
        "weights": _check_weights(source, load_weights),
        "methods": {name: _reason_against(model, method) for name, method in chosen.items()},
        "notes": _surplus_notes(chosen, geometry.layers, visual),
    }


def _check_versions() -> dict[str, dict[str, Any]]:
    import torch
    import transformers
    from packaging.specifiers import SpecifierSet

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    versions = {}
    for name, version in found.items():
        release = version.partition("+")[0]  # torch adds its build, as in 2.6.0+cpu
        supported = SpecifierSet(SUPPORTED[name]).contains(release, prereleases=True)
        versions[name] = {"version": version, "supported": SUPPORTED[name], "ok": supported}
    return versions


def _devices() -> list[str]:
    import torch

    devices = [f"cpu, {torch.get_num_threads()} threads"]
    for number in range(torch.cuda.device_count()):
        devices.append(f"cuda: {torch.cuda.get_device_name(number)}")
    return devices


def _try_bundled() -> str:
    """`"loads"`, or why the bundled model does not."""
    from transprune.errors import PruneError
    from transprune.models.checkpoint import LoadOptions, load
    from transprune.nano import NANO

    try:
        load(NANO, LoadOptions(dtype="float32", device="cpu"))
    except PruneError as error:
        return f"fails: {error}"
    return "loads"


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


def _check_weights(source: str, load_weights: bool) -> str:
    """`"complete"` after loading them; else what their files show."""
    from transprune.models.checkpoint import load

    if not load_weights:
        return _weight_files(source)
    load(source)
    return "complete"


def _weight_files(source: str) -> str:
    """Number and size of the weight files."""
    from transprune.models.source import locate

    place = Path(locate(source))
    if not place.is_dir():
        return "on the hub, not checked (--load fetches and checks them)"

    # *.bin: checkpoints from before safetensors
    files = [*place.glob("*.safetensors"), *place.glob("*.bin")]
    if not files:
        return "none in this folder"
    size = sum(file.stat().st_size for file in files)
    plural = "" if len(files) == 1 else "s"
    return f"{len(files)} file{plural}, {mebibytes(size)} (--load checks them)"


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
        with prune(model, method):
            return ""
    except PruneError as error:
        return str(error)
