"""A page for each family of models, written from the registry and the table of support."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from transprune.families.base import FAMILIES

from .docstrings import prose
from .methods import own_methods
from .support import TESTED, UNTESTED, outcomes, own_families, read_support
from .tables import escape, write_table

KINDS = {
    "listed": "modules, placeholders, vision tower and packing of the tokens",
    "embedded": "placeholders and language model; the vision tower is not, so methods that read it "
    "are refused",
}


def family_pages() -> dict[str, str]:
    """The page of every family, by its path on the site."""
    return {f"families/{name}.md": "\n".join(_page(name)) for name in own_families()}


def overview() -> str:
    """Links to the pages of all families."""
    rows = [["family", "`model_type`"]]
    for name in sorted(own_families(), key=lambda name: FAMILIES.get(name).title.lower()):
        rows.append([f"[{FAMILIES.get(name).title}](families/{name}.md)", f"`{name}`"])
    return f"\n## A page for each family\n\n{write_table(rows)}"


def _page(name: str) -> Iterator[str]:
    """The sections of a page."""
    family = FAMILIES.get(name)
    yield f"# {family.title}\n"
    yield from _special(family)
    yield write_table(_facts(name, family))
    yield from _check(name)
    yield from _methods(name)
    yield from _modes(name)


def _special(family: Any) -> Iterator[str]:
    """What is special about it: what its file says of the models in it, and its class of itself."""
    module = sys.modules[family.__module__]
    # a file with the rows of a table speaks of the table
    if not hasattr(module, "TABLE"):
        yield prose(module.__doc__ or "") + "\n"
    yield prose(family.__doc__ or "") + "\n"


def _facts(name: str, family: Any) -> list[list[str]]:
    """What kind of model it is, and what is known of it."""
    positions = (
        "three axes (M-RoPE), so they are kept and never counted anew"
        if family.mrope
        else "kept, or counted anew, as each method's code does"
    )
    prompt = (
        "one picture in a prompt; several are foreign to it"
        if family.one_picture
        else "one or several pictures in a prompt"
    )
    return [
        ["`model_type`", f"`{name}`"],
        ["class in transformers", f"`{_class_name(name)}`"],
        ["described", KINDS[family.kind]],
        ["positions", positions],
        ["was trained on", prompt],
    ]


def _class_name(name: str) -> str:
    """The class that `AutoModelForImageTextToText` loads for a model type."""
    from transformers.models.auto import modeling_auto

    names: Any = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    found = names.get(name, "none of AutoModelForImageTextToText")
    return found if isinstance(found, str) else found[0]


def _check(name: str) -> Iterator[str]:
    """How a reader finds out about a checkpoint of this family."""
    yield "## Your checkpoint\n"
    yield "<!-- needs: weights -->\n```"
    yield "transprune doctor --model FOLDER_OR_HUB_ID        # from its config.json, without weights"
    yield "transprune run --model FOLDER_OR_HUB_ID --image photo.jpg --question QUESTION \\"
    yield "               --method transprune-high"
    yield "```\n"
    yield "No real checkpoint was run where this library is built: none can be fetched there.\n"


def _methods(name: str) -> Iterator[str]:
    """Methods that run, and those that do not fit, with the reason."""
    cells = read_support().methods.get(name, {})
    found = []
    for method in own_methods():
        found.append((f"[`{method}`](../methods/{method}.md)", cells.get(method, UNTESTED)))
    yield from outcomes("Methods", "method", found)


def _modes(name: str) -> Iterator[str]:
    """Ways to generate and to load, and what they do."""
    support = read_support()
    cells = support.modes.get(name, {})
    rows = [["mode", "", ""]]
    for mode, cell in cells.items():
        said = "tested" if cell.startswith(TESTED) else "refused"
        said = "not tested" if cell == UNTESTED else said
        rows.append([mode, said, escape(support.why(cell))])
    if len(rows) > 1:
        yield "## Modes\n\n" + write_table(rows)
