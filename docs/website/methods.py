"""A page for each method, written from its class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from transprune.cli.methods import LAYERS, TOKENS, describe
from transprune.cli.methods_settings import POSITIONS, WHERE, list_presets, list_settings
from transprune.errors import MethodError
from transprune.families.base import FAMILIES
from transprune.methods.common.recipe import METHODS, parse

from .docstrings import prose
from .measured import rows_of
from .reference import public_names
from .support import UNTESTED, outcomes, own_families, read_support
from .tables import escape, write_table

COMPOSITION = "divprune:keep_ratio=0.5+transprune-low"
NANO_LAYERS = 16
NANO_TOKENS = 144

# a count that belongs to LLaVA-1.5's 576 tokens is more than the bundled model has
SHARE = "keep=0.33"

RUN = """```
transprune run --model nano --image src/transprune/demo/pictures/scene2.png \\
    --question "what shape is the orange object?" --method {recipe}
```
"""

FIDELITY = {
    "exact": "Exact: as the paper or its code defines it.",
    "reconstructed": "**Reconstructed**: the whole definition was not at hand. Filled in: {what}. A "
    "comparison with it is a comparison with this reconstruction.",
    "trained": "**Trained** and reconstructed: it needs [trained weights](../trained.md). {what}.",
    "control": "A control, to compare methods with; nobody proposes it.",
    "": "",
}


def method_pages() -> dict[str, str]:
    """The page of every method of this library, by its path on the site."""
    return {f"methods/{name}.md": "\n".join(_page(name)) for name in own_methods()}


def own_methods() -> list[str]:
    """The registered methods that are part of this library, and of no plugin."""
    return [name for name in METHODS if METHODS.get(name).__module__.startswith("transprune.")]


def overview() -> str:
    """The table of all methods, each with a link to its page."""
    rows = [["name", "idea", "kind", "definition"]]
    for name in own_methods():
        cls = METHODS.get(name)
        idea = cls.title.partition(": ")[2] or cls.title
        rows.append([f"[`{name}`](methods/{name}.md)", escape(idea), cls.kind, cls.fidelity])
    return f"\n## A page for each\n\n{write_table(rows)}"


def example(name: str) -> str:
    """A recipe text of the method that prunes the bundled model."""
    if name == "compose":
        return COMPOSITION
    for recipe in (name, f"{name}:{SHARE}"):
        if _prunes(recipe):
            return recipe
    return name


def _prunes(recipe: str) -> bool:
    """Whether fewer tokens than all stay on the bundled model, or the method acts otherwise."""
    try:
        method: Any = parse(recipe)
        stages = method.plan(NANO_LAYERS, NANO_TOKENS)
    except MethodError:  # no such setting
        return False
    return not stages or stages[-1].count < NANO_TOKENS


def _page(name: str) -> Iterator[str]:
    """The sections of a page."""
    cls = METHODS.get(name)
    about = describe(name)
    # the first part of a title is the name as the paper spells it
    yield f"# {cls.title.partition(': ')[0]}\n"
    yield prose(cls.__doc__ or "") + "\n"
    yield write_table(_facts(about))
    yield from _definition(cls)
    yield f"## Run it\n\n{RUN.format(recipe=example(name))}"
    yield f'In Python: `prune(model, "{example(name)}")`.\n'
    yield from _settings(name, cls)
    yield from _measured(name)
    yield from _models(name)


def _facts(about: dict[str, Any]) -> list[list[str]]:
    """What it is called, where it acts and what it reads."""
    cls = METHODS.get(about["name"])
    rows = [["in a recipe", f"`{about['name']}`"], ["class", _class(cls)]]
    if about["name"] == "compose":
        rows[0][1] = "a plus: `visionzip:keep=192+transprune-low`"

    paper = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", about["paper"])
    rows.append(["source", escape(paper)])
    rows.append(["acts", WHERE[about["kind"]]])
    rows.append(["reads of the model", escape(", ".join(about["reads"])) or "nothing"])
    if about["name"] != "compose":
        rows.append(["positions", POSITIONS[about["positions"]]])
    return rows


def _class(cls: type) -> str:
    """Where it is imported from, with a link if the reference has it."""
    for name in public_names():
        if name.path == f"transprune.{cls.__name__}":
            return f"[`{name.path}`](../{name.file})"
    return f"`transprune.methods.{cls.__name__}`"


def _definition(cls: Any) -> Iterator[str]:
    """How close it is to what its authors define, and where it differs from their code."""
    said = FIDELITY[cls.fidelity].format(what=cls.reconstructed.rstrip("."))
    if not said:
        return
    yield f"## How close to its definition\n\n{said}\n"
    if cls.differs_from_code:
        yield f"It differs from the released code: {cls.differs_from_code}.\n"


def _settings(name: str, cls: Any) -> Iterator[str]:
    """Settings with defaults and meanings, and presets."""
    rows = [["setting", "default", "meaning"]]
    for entry in list_settings(cls):
        default = f"`{entry['default']}`" if entry["default"] else ""
        rows.append([f"`{entry['name']}`", escape(default), escape(entry["meaning"])])
    yield f"## Settings\n\n{write_table(rows)}"
    yield (
        f"Defaults were written for {LAYERS} layers and {TOKENS} visual tokens, those of LLaVA-1.5-7B. "
        "[Recipes](../recipes.md) says how settings are given.\n"
    )

    presets = list_presets(name)
    if presets:
        rows = [["preset", "is"]]
        rows += [[f"`{row['name']}`", escape(row["meaning"])] for row in presets]
        yield f"## Presets\n\n{write_table(rows)}"


def _measured(name: str) -> Iterator[str]:
    """Rows of the tables in `docs/`."""
    yield "## Measured\n"
    found = list(rows_of(name))
    for source, rows in found:
        yield f"{source.says} More: [{source.page}](../{source.page}).\n"
        yield write_table(rows)
    if not found:
        yield (
            "No row of the tables in these pages. `transprune bench --methods "
            f"{example(name)}` measures it on the bundled model.\n"
        )


def _models(name: str) -> Iterator[str]:
    """What the contract tests found, family by family."""
    methods = read_support().methods
    found = []
    for model_type in own_families():
        link = f"[{FAMILIES.get(model_type).title}](../families/{model_type}.md)"
        found.append((link, methods.get(model_type, {}).get(name, UNTESTED)))
    yield from outcomes("Models", "family", found)
