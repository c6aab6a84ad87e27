"""What bounds the settings of a search: what a text gives, and where a method may begin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transprune.bench.run.nominal import NominalPrompt
from transprune.core.schedule import Schedule
from transprune.errors import MethodError
from transprune.methods.common.method import LayerPruner, Method, ProjectorPruner
from transprune.methods.common.recipe import METHODS
from transprune.methods.common.recipe_text import split_part

FEWEST = 1e-4  # a share that keeps one token
SHARES = ("keep_ratio", "keep")


def is_scheduled(method: Method) -> bool:
    """Whether the method's `keep` is a schedule, of boundaries that may move."""
    # the modules of a trained method belong to their layers, so only its budget is scaled
    movable = isinstance(method, LayerPruner) and method.fidelity != "trained"
    return movable and isinstance(getattr(method, "keep", None), Schedule)


def share_field(method: Method) -> str:
    """The setting that says how much a method with one budget keeps; empty if it has none."""
    for name in SHARES:
        value = getattr(method, name, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return name
    return ""


def widest_gap(layers: int) -> int:
    """The most layers between two boundaries: a third of the depth."""
    return max(1, layers // 3)


def given_settings(text: str, parts: int) -> list[set[str]]:
    """The settings that each part of a recipe text gives, which are not searched.

    A preset or a file gives none; a named recipe stands for its text.
    """
    named: dict[str, str] = {}
    for method in METHODS:
        named |= METHODS.get(method).recipes

    found = [set(split_part(part.strip())[1]) for part in named.get(text, text).split("+")]
    return found if len(found) == parts else [set() for _ in range(parts)]


def latest_boundary(method: Method, prompt: NominalPrompt, budget: float) -> int:
    """The last boundary at which a method can begin and still reach the budget.

    The layers in front of the boundary process every token.
    """
    latest = prompt.geometry.layers - 1
    if isinstance(method, ProjectorPruner):
        return latest

    for boundary in range(latest, 0, -1):
        try:
            if prompt.share(_cheapest(method, boundary)) <= budget:
                return boundary
        except MethodError:
            continue

    return 1


def _cheapest(method: Method, boundary: int) -> Method:
    """The method with one boundary, behind which one token is left."""
    if not is_scheduled(method):
        changes: dict[str, Any] = {"layer": boundary} if hasattr(method, "layer") else {}
        return replace(method.scaled_by(FEWEST), **changes)

    changes = {"keep": Schedule({boundary: FEWEST})}
    if hasattr(method, "accumulate"):
        changes["accumulate"] = range(boundary, boundary + 1)
    return replace(method, **changes)
