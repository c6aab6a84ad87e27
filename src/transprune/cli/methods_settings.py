"""`transprune methods METHOD`: one method with its settings, presets and sources.

Names and defaults come from the dataclass, meanings from the `Args` of its docstring.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from transprune.cli.argument_words import find_meaning, setting_meanings
from transprune.cli.console import legend, new_table, print_json, show
from transprune.cli.recipe_words import write_value

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.methods.common.method import Method

WHERE = {
    "projector-side": "in front of the language model, once (projector-side)",
    "within-LLM": "between layers of the language model (within-LLM)",
    "hybrid": "in front of and inside the language model (hybrid)",
    "cache": "in the cache of each layer, behind the prompt (cache)",
    "composition": "one method after another (composition)",
}
POSITIONS = {
    "keep": "those that stay keep their places (keep)",
    "renumber": "those that stay are counted anew (renumber)",
}


def show_method(name: str, about: dict[str, Any], as_json: bool) -> None:
    """Print one method.

    Args:
        name: as it was asked for: a method, a preset or a recipe text.
        about: what the list of methods says about it.
        as_json: print one JSON document instead.
    """
    method = find_method(name)
    settings = list_settings(type(method) if method else _class_of(name), method)
    presets = list_presets(about["name"])
    parts = list(getattr(method, "parts", ()))
    if as_json:
        more = {part.name: list_settings(type(part), part) for part in parts}
        document = {**about, "settings": settings, "presets": presets, "parts": more}
        print_json({"method": document})
        return

    show(about["title"], "", _facts(about), "")
    # of a composition that is at hand, its parts are what has settings
    for part in parts:
        show(_settings_table(list_settings(type(part), part), "value", part.name), "")
    if not parts:
        show(_settings_table(settings, "default" if method is None else "value", name), "")
        if presets:
            show(_presets_table(presets), "")

    show(*_example(about["name"], name, settings))


def write_fidelity(about: dict[str, Any]) -> str:
    """How close a method is to its definition, with what was filled in if it is not exact."""
    if about["reconstructed"]:
        return f"{about['fidelity']}: {about['reconstructed']}"
    if about["fidelity"] == "exact" and not about["deviates"]:
        return "exact: as published"

    return str(about["fidelity"])


def find_method(name: str) -> Method | None:
    """The method that a preset or recipe text names; None for the bare name of a method.

    Raises:
        UnknownMethod: no method or preset of that name; the message names the closest one.
    """
    from transprune.methods.common.recipe import METHODS, parse

    if name in METHODS:
        return None
    method: Any = parse(name)
    return method


def list_settings(cls: type, method: Method | None = None) -> list[dict[str, Any]]:
    """Every setting of a method, JSON-ready: its name, default, meaning, and value if there is one.

    Args:
        cls: class of the method.
        method: where values differ from the defaults; None for the defaults alone.
    """
    settings = []
    meanings = setting_meanings(cls)
    for field in fields(cls):
        if not field.init:
            continue

        default = None if field.default is MISSING else field.default
        entry = {
            "name": field.name,
            "default": _written_default(cls, field.name, default),
            "meaning": find_meaning(field.name, meanings),
        }

        if method is not None:
            entry["value"] = _written_value(method, field.name)
        settings.append(entry)

    # what belongs to the method comes first, what all methods have last
    return sorted(settings, key=lambda entry: entry["name"] == "positions")


def list_presets(method: str) -> list[dict[str, str]]:
    """The presets and named recipes of a method, JSON-ready."""
    from transprune.methods.common.recipe import METHODS

    cls: Any = METHODS.get(method)
    rows = []
    for preset in cls.presets:
        doc = inspect.getdoc(getattr(cls, preset)) or ""
        rows.append({"name": f"{method}-{preset}", "meaning": " ".join(doc.split())})
    for name, recipe in cls.recipes.items():
        rows.append({"name": name, "meaning": recipe})
    return rows


def _class_of(name: str) -> type:
    from transprune.methods.common.recipe import METHODS

    cls: type = METHODS.get(name)
    return cls


def _written_default(cls: Any, name: str, default: Any) -> str:
    """A default as text; where the method's own code decides, what it decides."""
    if name == "positions":
        return str(cls.default_positions)
    depth = getattr(default, "depth", None)
    text = write_value(default) if default != () else "none"
    return f"{text} of {depth} layers" if depth else text


def _written_value(method: Method, name: str) -> str:
    """The value of a setting as text; for positions what is in force."""
    if name == "positions":
        return method.policy
    if name == "parts":
        return "+".join(part.name for part in method.steps)
    return write_value(getattr(method, name))


def _facts(about: dict[str, Any]) -> Table:
    """Where it acts, what it reads, and what it follows."""
    entries = {
        "acts": WHERE[about["kind"]],
        "reads": ", ".join(about["reads"]) or "nothing of the model",
        "positions": POSITIONS[about["positions"]],
        "paper": about["paper"],
    }

    if about["fidelity"] not in ("", "control"):
        entries["fidelity"] = write_fidelity(about)
    if about["deviates"]:
        entries["differs"] = f"from the released code: {about['deviates']}"
    return legend(entries)


def _settings_table(settings: list[dict[str, Any]], heading: str, title: str) -> Table:
    columns = ("setting", heading, "meaning")
    # a schedule may be longer than its column
    table = new_table(f"settings of {title}", columns, left=("setting",), wrap=(heading, "meaning"))
    for entry in settings:
        table.add_row(entry["name"], entry.get("value", entry["default"]), entry["meaning"])
    return table


def _presets_table(presets: list[dict[str, str]]) -> Table:
    table = new_table("presets", ("name", "is"), left=("name",), wrap=("is",))
    for row in presets:
        table.add_row(row["name"], row["meaning"])
    return table


def _example(method: str, name: str, settings: list[dict[str, Any]]) -> list[str]:
    """The lines to paste."""
    lines = [f'in Python: prune(model, "{name}")', f"on the command line: --method {name}"]
    if method == "compose":
        text = "visionzip:keep=192+pdrop" if name == method else name
        return [f'in Python: prune(model, "{text}")', f"on the command line: --method {text}"]
    if name != method:
        return lines

    first = settings[0]
    # a schedule is written without the depth that its default was made for
    value = first["default"].partition(" ")[0]
    return [*lines, f"with a setting: {method}:{first['name']}={value}"]
