"""`transprune doctor`: what this machine supports, and what a model does."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from transprune.cli.console import (
    RIGHT,
    WRONG,
    Json,
    mebibytes,
    new_table,
    print_json,
    show,
    status,
)
from transprune.core.library import SUPPORTED as SUPPORTED_TRANSFORMERS

SUPPORTED = {"python": ">=3.10", "torch": ">=2.4", "transformers": SUPPORTED_TRANSFORMERS}


def doctor_command(
    model: Annotated[
        str | None,
        typer.Option("--model", help="Also look at this model: folder, hub id, or 'nano'."),
    ] = None,
    load_weights: Annotated[
        bool, typer.Option("--load", help="Load its weights too, to see that they are complete.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what this machine and, with --model, this model support."""
    if load_weights and model is None:
        raise typer.BadParameter(
            "--load looks at the weights of --model; name one", param_hint="--load"
        )
    with status(as_json) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries

        with quiet_libraries(bars=False):
            machine = look_at_machine()
            found = look_at_model(model, load_weights) if model is not None else None
    if as_json:
        print_json({"machine": machine, "model": found})
    else:
        _print_machine(machine)
        if found is not None:
            _print_model(found)
    if not machine["ok"]:
        raise typer.Exit(1)


def look_at_machine() -> dict[str, Any]:
    """Versions, devices, attention implementations and families."""
    import torch
    import transformers
    from transformers.utils import is_flash_attn_2_available, is_torchvision_available

    from transprune.families import FAMILIES

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    versions = {
        name: {
            "version": version,
            "supported": SUPPORTED[name],
            "ok": _within(version, SUPPORTED[name]),
        }
        for name, version in found.items()
    }
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    bundled = _try_bundled()
    return {
        "ok": all(entry["ok"] for entry in versions.values()) and bundled == "loads",
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
        "versions": versions,
        "devices": [f"cpu, {torch.get_num_threads()} threads", *(f"cuda: {name}" for name in cuda)],
        "attention": [
            "sdpa",
            "eager",
            *(["flash_attention_2"] if is_flash_attn_2_available() else []),
        ],
        "torchvision": bool(is_torchvision_available()),
        "families": {name: FAMILIES.get(name).title for name in FAMILIES},
        "bundled_model": bundled,
    }


def look_at_model(source: str, load_weights: bool) -> dict[str, Any]:
    """Structure of a model without its weights, and which methods it can run."""
    import torch
    from transformers import AutoModelForImageTextToText

    from transprune.cost.geometry import Geometry
    from transprune.errors import PruneError
    from transprune.families import FAMILIES
    from transprune.models.checkpoint import load
    from transprune.models.processor import load_processor
    from transprune.models.source import read_config

    config = read_config(source)
    family = FAMILIES.get(config.model_type)()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    geometry = Geometry.from_config(config)
    try:
        processor = type(load_processor(source, config.model_type)).__name__
    except PruneError as error:
        processor = f"unusable: {error}"
    weights = _weight_files(source)
    if load_weights:
        load(source)
        weights = "complete"
    return {
        "source": source,
        "family": family.name,
        "title": family.title,
        "layers": geometry.layers,
        "hidden": geometry.hidden,
        "heads": geometry.heads,
        "kv_heads": geometry.kv_heads,
        "visual_tokens": geometry.visual_tokens if _fixed_size(config) else None,
        "mrope": family.mrope,
        "vision_tower": type(_tower(family.base(model))).__name__,
        "cls_token": _has_cls(_tower(family.base(model))),
        "processor": processor,
        "weights": weights,
        "methods": {name: _can_run(model, name) for name in _names()},
    }


def _try_bundled() -> str:
    from transprune.errors import PruneError
    from transprune.models.checkpoint import LoadOptions, load
    from transprune.nano import NANO

    try:
        load(NANO, LoadOptions(dtype="float32", device="cpu"))
    except PruneError as error:
        return f"fails: {error}"
    return "loads"


def _names() -> list[str]:
    """Every method with defaults, and every preset."""
    from transprune.methods.common.recipe import METHODS, preset_names

    return sorted({*METHODS, *preset_names()} - {"compose"})


def _can_run(model: Any, name: str) -> str:
    """Empty if the method fits the model, else why not."""
    from transprune.errors import PruneError
    from transprune.session import prune

    try:
        with prune(model, name):
            return ""
    except PruneError as error:
        return str(error)


def _fixed_size(config: Any) -> bool:
    """Is every picture brought to one size?"""
    return bool(
        getattr(config, "image_seq_length", None)
        or getattr(config.vision_config, "image_size", None)
    )


def _weight_files(source: str) -> str:
    """What can be said about the weights without reading them."""
    from transprune.models.source import locate

    place = Path(locate(source))
    if not place.is_dir():
        return "on the hub, not looked at (--load fetches and checks them)"
    files = [file for pattern in ("*.safetensors", "*.bin") for file in place.glob(pattern)]
    size = sum(file.stat().st_size for file in files)
    number = f"{len(files)} file" + ("s" if len(files) != 1 else "")
    return f"{number}, {mebibytes(size)} (--load checks them)" if files else "none in this folder"


def _tower(base: Any) -> Any:
    return getattr(base, "vision_tower", None) or getattr(base, "visual", None)


def _has_cls(tower: Any) -> bool:
    return any(name.endswith("class_embedding") for name, _ in tower.named_parameters())


def _within(version: str, bounds: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(bounds).contains(version.partition("+")[0], prereleases=True)


def _print_machine(machine: dict[str, Any]) -> None:
    table = new_table("this machine", ("", "what", "found", "note"), wrap=("what", "found", "note"))
    table.show_header = False
    for name, entry in machine["versions"].items():
        table.add_row(_mark(entry["ok"]), name, entry["version"], f"supported {entry['supported']}")
    table.add_row(" ", "devices", "\n".join(machine["devices"]), "")
    table.add_row(" ", "attention", ", ".join(machine["attention"]), "")
    vision = "installed" if machine["torchvision"] else "absent"
    table.add_row(
        " ",
        "torchvision",
        vision,
        "not needed" if machine["torchvision"] else "not needed for pictures",
    )
    families = "\n".join(f"{title} ({name})" for name, title in machine["families"].items())
    table.add_row(" ", "families", families, "")
    table.add_row(
        _mark(machine["bundled_model"] == "loads"), "bundled model", machine["bundled_model"], ""
    )
    show(table)


def _print_model(found: dict[str, Any]) -> None:
    table = new_table(found["source"], ("what", "found"), wrap=("what", "found"))
    table.show_header = False
    tokens = found["visual_tokens"]
    rows = {
        "family": f"{found['title']} ({found['family']})",
        "language model": f"{found['layers']} layers, width {found['hidden']}, {found['heads']} heads, "
        f"{found['kv_heads']} key/value heads",
        "visual tokens": f"{tokens} for a nominal picture"
        if tokens
        else "as many as the picture is large",
        "positions": "M-RoPE, always kept"
        if found["mrope"]
        else "kept or renumbered, as each method's own code does",
        "vision tower": f"{found['vision_tower']}, {'with' if found['cls_token'] else 'without'} a CLS token",
        "processor": found["processor"],
        "weights": found["weights"],
    }
    for what, text in rows.items():
        table.add_row(what, text)
    methods = new_table("methods", ("", "name", "why not"), wrap=("name", "why not"))
    for name, reason in found["methods"].items():
        methods.add_row(_mark(not reason), name, reason)
    methods.show_header = any(found["methods"].values())
    show("", table, "", methods)


def _mark(good: bool) -> str:
    return f"[green]{RIGHT}[/]" if good else f"[bold red]{WRONG}[/]"
