"""The methods on offer and the bounds of a server, for `/v1/pruning` and for the page."""

from __future__ import annotations

from math import ceil
from typing import Any

from transprune.bench.run.budgets import fit
from transprune.bench.run.nominal import NominalPrompt
from transprune.errors import PruneError
from transprune.models.checkpoint import Checkpoint
from transprune.nano import NANO, PROMPT
from transprune.serve.limits import Limits
from transprune.serve.recipes import Recipe, Recipes

CHEAPEST = 0.01  # the smallest budget there is


def describe_offer(checkpoint: Checkpoint, recipes: Recipes, limits: Limits) -> dict[str, Any]:
    """JSON-ready: every method with what it costs of a nominal prompt, and the bounds of a request.

    Counted, which takes some milliseconds for each method; the model does not run.
    """
    methods = [_describe(checkpoint, recipe) for recipe in recipes if recipe.method is not None]
    return {
        "model": recipes.model_name,
        "default": recipes.default,
        "methods": methods,
        "limits": {
            "body_bytes": limits.body_bytes,
            "pixels": limits.pixels,
            "text_chars": limits.text_chars,
            "new_tokens": limits.new_tokens,
        },
    }


def _describe(checkpoint: Checkpoint, recipe: Recipe) -> dict[str, Any]:
    """One method.

    `prefill_flops_share` is planned for a nominal prompt, `lowest_budget` the smallest whole
    percent that the method can be scaled to there; None if to none.
    """
    method = recipe.method
    assert method is not None
    prompt = _prompt(checkpoint, recipe)
    # a composition is described by its parts
    parts = method.steps if method.kind == "composition" else (method,)
    return {
        "name": recipe.name,
        "title": ", then ".join(part.title for part in parts),
        "paper": "; ".join(dict.fromkeys(part.paper for part in parts)),
        "prefill_flops_share": round(prompt.share(method), 6),
        "lowest_budget": _lowest(recipe, prompt),
    }


def _prompt(checkpoint: Checkpoint, recipe: Recipe) -> NominalPrompt:
    assert recipe.session is not None
    geometry = recipe.session.geometry
    text, instruction = geometry.text_tokens, geometry.text_tokens
    if checkpoint.source == NANO:
        text, instruction = PROMPT
    return NominalPrompt(geometry, geometry.visual_tokens, text, instruction)


def _lowest(recipe: Recipe, prompt: NominalPrompt) -> float | None:
    """The smallest budget, in whole percents."""
    assert recipe.method is not None
    try:
        share = fit(recipe.method, CHEAPEST, prompt).share
    except PruneError:
        return None
    lowest = max(CHEAPEST, ceil(100 * share) / 100)
    return lowest if lowest < 1 else None
