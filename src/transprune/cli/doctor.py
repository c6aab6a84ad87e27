"""`transprune doctor`: what this machine supports, and which methods a model can run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from transprune.cli.console import RIGHT, WRONG, new_table, print_json, show, status
from transprune.cli.doctor_checks import check_machine, check_model
from transprune.cli.options import Json, Methods, OptionalModel


def doctor_command(
    model: OptionalModel = None,
    load_weights: Annotated[
        bool, typer.Option("--load", help="Load the weights of --model, to check all of them.")
    ] = False,
    method: Methods = None,
    as_json: Json = False,
) -> None:
    """Check this machine and, with --model, a model.

    Every method is tried on the structure of the model; --method names those to try, and says
    whether their settings drop anything of a picture.
    """
    if load_weights and model is None:
        raise typer.BadParameter(
            "--load checks the weights of --model; give a model", param_hint="--load"
        )

    if method and model is None:
        raise typer.BadParameter(
            "--method is tried on the structure of --model; give a model", param_hint="--method"
        )

    with status(as_json) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries

        with quiet_libraries(bars=False):
            machine = check_machine()
            found = None if model is None else check_model(model, load_weights, method or None)

    if as_json:
        print_json({"machine": machine, "model": found})
    else:
        _print_machine(machine)
        if found is not None:
            _print_model(found)
    # for scripts; a model that cannot be used has raised its error already
    if not machine["ok"]:
        raise typer.Exit(1)


def _print_machine(machine: dict[str, Any]) -> None:
    table = new_table("this machine", ("", "what", "found", "note"), wrap=("what", "found", "note"))
    table.show_header = False
    for name, entry in machine["versions"].items():
        table.add_row(_mark(entry["ok"]), name, entry["version"], f"supported {entry['supported']}")

    families = [f"{title} ({name})" for name, title in machine["families"].items()]
    bundled = machine["bundled_model"]
    table.add_row(" ", "devices", "\n".join(machine["devices"]), "")
    table.add_row(" ", "attention", ", ".join(machine["attention"]), "")
    table.add_row(" ", "torchvision", *_torchvision(machine["torchvision"]))
    table.add_row(" ", "families", "\n".join(families), "")
    table.add_row(_mark(bundled == "loads"), "bundled model", bundled, "")
    show(table)


def _torchvision(installed: bool) -> tuple[str, str]:
    if installed:
        return "installed", "not needed"
    return "absent", "not needed for pictures"


def _print_model(found: dict[str, Any]) -> None:
    table = new_table(found["source"], ("what", "found"), wrap=("what", "found"))
    table.show_header = False
    for what, text in _facts(found).items():
        table.add_row(what, text)

    methods = new_table("methods", ("", "name", "note"), wrap=("name", "note"))
    for name, reason in found["methods"].items():
        methods.add_row(_mark(not reason), name, reason or found["notes"].get(name, ""))
    # the heading belongs to the notes; without any the names stand alone
    methods.show_header = any(found["methods"].values()) or bool(found["notes"])
    show("", table, "", methods)


def _facts(found: dict[str, Any]) -> dict[str, str]:
    """The rows of the model's table."""
    visual = "depends on the size of the picture"
    if tokens := found["visual_tokens"]:
        visual = f"{tokens} for a nominal picture"

    positions = "kept or renumbered, as each method's own code does"
    if found["mrope"]:
        positions = "M-RoPE, always kept"

    cls = "with" if found["cls_token"] else "without"
    return {
        "family": f"{found['title']} ({found['family']})",
        "language model": f"{found['layers']} layers, width {found['hidden']}, "
        f"{found['heads']} heads, {found['kv_heads']} key/value heads",
        "visual tokens": visual,
        "positions": positions,
        "vision tower": f"{found['vision_tower']}, {cls} a CLS token",
        "processor": found["processor"],
        "weights": found["weights"],
    }


def _mark(good: bool) -> str:
    return f"[green]{RIGHT}[/]" if good else f"[bold red]{WRONG}[/]"
