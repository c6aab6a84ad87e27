"""`transprune doctor`: what this machine supports, and which methods a model can run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from transprune.cli.console import RIGHT, WRONG, new_table, print_json, show, status
from transprune.cli.doctor_checks import check_machine
from transprune.cli.doctor_model import check_model
from transprune.cli.options import Json, Methods, OptionalModel


def doctor_command(
    model: OptionalModel = None,
    load_weights: Annotated[
        bool, typer.Option("--load", help="Load the weights of --model, to check all of them.")
    ] = False,
    method: Methods = None,
    as_json: Json = False,
) -> None:
    """Check this machine and, with --model, a model, of which its config.json is enough.

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

    # for scripts
    if not machine["ok"] or (found is not None and found["kind"] == "refused"):
        raise typer.Exit(1)


def _print_machine(machine: dict[str, Any]) -> None:
    table = new_table("this machine", ("", "what", "found", "note"), wrap=("what", "found", "note"))
    table.show_header = False
    for name, entry in machine["versions"].items():
        table.add_row(_mark(entry["ok"]), name, entry["version"], f"supported {entry['supported']}")

    families = ", ".join(sorted(set(machine["families"].values())))
    bundled = machine["bundled_model"]
    table.add_row(" ", "devices", "\n".join(machine["devices"]), "")
    table.add_row(" ", "attention", ", ".join(machine["attention"]), "")
    table.add_row(*_torchvision(machine))
    table.add_row(" ", "families", families, "and others of the common shape")
    table.add_row(_mark(bundled == "loads"), "bundled model", bundled, "")
    show(table)


def _torchvision(machine: dict[str, Any]) -> tuple[str, str, str, str]:
    if machine["torchvision_problem"]:
        return _mark(False), "torchvision", "broken", machine["torchvision_problem"]
    if machine["torchvision"]:
        return " ", "torchvision", "installed", "not needed"
    return " ", "torchvision", "absent", "not needed for pictures"


def _print_model(found: dict[str, Any]) -> None:
    from rich.markup import escape

    table = new_table(found["source"], ("what", "found"), wrap=("what", "found"))
    table.show_header = False
    if found["kind"] == "refused":
        table.add_row("model type", found["model_type"])
        table.add_row("support", f"{_mark(False)} {escape(found['reason'])}")
        show("", table)
        return

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

    return {
        "model type": found["model_type"],
        "support": found["support"],
        "family": f"{found['title']} ({found['family']})",
        "language model": _language_model(found),
        "visual tokens": visual,
        "positions": positions,
        "vision tower": _tower(found),
        "processor": found["processor"],
        "weights": found["weights"],
    }


def _language_model(found: dict[str, Any]) -> str:
    """Its sizes, and which of its layers have attention."""
    sizes = (
        f"{found['layers']} layers, width {found['hidden']}, {found['heads']} heads, "
        f"{found['kv_heads']} key/value heads"
    )
    attend = found["attention_layers"]
    if len(attend) == found["layers"]:
        return sizes

    named = ", ".join(map(str, attend))
    return (
        f"{sizes}; attention in the layers {named}, the others are recurrent (methods that read "
        "attention move their boundaries to those)"
    )


def _tower(found: dict[str, Any]) -> str:
    """Its class, and whether it has a CLS token, as far as they are known."""
    if found["kind"] != "listed":
        return "not described: methods that read it are refused"
    cls = "with" if found["cls_token"] else "without"
    return f"{found['vision_tower']}, {cls} a CLS token"


def _mark(good: bool) -> str:
    return f"[green]{RIGHT}[/]" if good else f"[bold red]{WRONG}[/]"
