"""Bring every method to a budget on one model, and write it as text that can be pasted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transprune.cli.recipe_words import write_recipe
from transprune.cli.suggest_evidence import KINDS, Evidence, find_evidence, published_model

if TYPE_CHECKING:
    from transprune.bench.run.nominal import NominalPrompt

# besides every method with its defaults: presets and compositions that have evidence of their own
VARIANTS = (
    "transprune-low",
    "divprune:proportional=true",
    "sparsevlm-plus",
    "prumerge-plus",
    "visionzip-288-transprune",
    "cdpruner-288-transprune",
)
BUNDLED_VARIANTS = ("transprune-nano",)  # chosen for the bundled model, and for no other


@dataclass(frozen=True)
class Suggestion:
    """One method at a budget.

    Attributes:
        method: name or recipe it was made from.
        recipe: the text to paste.
        boundaries: decoder layers in front of which it drops tokens.
        tokens: visual tokens in the prompt, and those that are left after each boundary.
        at_most: the picture decides how many stay; `tokens` are upper bounds.
        exact_share, paper_share: prefill relative to unpruned, by convention.
        note: what was changed besides how much stays; empty if nothing.
        evidence: what is known of its answers.
    """

    method: str
    recipe: str
    boundaries: tuple[int, ...]
    tokens: tuple[int, ...]
    at_most: bool
    exact_share: float
    paper_share: float
    note: str
    evidence: Evidence

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {
            "method": self.method,
            "recipe": self.recipe,
            "boundaries": list(self.boundaries),
            "tokens": list(self.tokens),
            "at_most": self.at_most,
            "exact_share": self.exact_share,
            "paper_share": self.paper_share,
            "note": self.note,
            "evidence": self.evidence.to_dict(),
        }


def suggest(
    prompt: NominalPrompt, budget: float, *, bundled: bool
) -> tuple[list[Suggestion], dict[str, str]]:
    """Every method at `budget`, those with the strongest evidence first.

    Args:
        prompt: the model and the prompt that costs are counted for.
        budget: share of the unpruned prefill in (0, 1), `exact` convention.
        bundled: it is the bundled model.

    Returns:
        The suggestions, and for each method that cannot reach the budget the reason.
    """
    model = published_model(prompt.geometry)
    found = []
    refused = {}
    for name in candidates(bundled):
        made = _at_budget(name, budget, prompt, model, bundled=bundled)
        if isinstance(made, str):
            refused[name] = made
        else:
            found.append(made)

    found.sort(key=_rank)
    return found, refused


def candidates(bundled: bool) -> list[str]:
    """Names and recipes of the methods that may be suggested: no controls."""
    from transprune.methods.common.recipe import METHODS

    names = []
    for name in METHODS:
        cls = METHODS.get(name)
        if cls.kind != "composition" and not cls.paper.startswith("control"):
            names.append(name)

    return [*names, *VARIANTS, *(BUNDLED_VARIANTS if bundled else ())]


def _at_budget(
    name: str, budget: float, prompt: NominalPrompt, model: str | None, *, bundled: bool
) -> Suggestion | str:
    """One method at the budget, or why it cannot be brought there."""
    from transprune.bench.run.budgets import TOLERANCE, Fit, fit, has_variable_count
    from transprune.errors import MethodError
    from transprune.methods.common.recipe import resolve

    recipe = name
    try:
        own = prompt.share(resolve(name))
        if resolve(name).fidelity == "trained" and not bundled:
            return "needs weights trained for this model: transprune train-pruner"
        fitted = fit(resolve(name), budget, prompt)
    except MethodError as error:
        return str(error)

    # as published, where that costs the budget already
    if abs(own - budget) <= TOLERANCE:
        fitted = Fit(resolve(name), own, reached=True)
    elif fitted.reached:
        recipe = write_recipe(fitted.method, prompt.geometry.layers)
    else:
        return fitted.note

    # every figure below is that of the text, whose shares are rounded
    method = resolve(recipe)
    stages = method.plan(prompt.geometry.layers, prompt.visual_tokens)
    paper_share = prompt.cost(method, "paper").prefill_share
    notes = [note for note in (fitted.note, *_warnings(method, prompt)) if note]

    return Suggestion(
        name,
        recipe,
        boundaries=tuple(stage.boundary for stage in stages),
        tokens=(prompt.visual_tokens, *(stage.count for stage in stages)),
        at_most=has_variable_count(method, prompt),
        exact_share=prompt.share(method),
        paper_share=paper_share,
        note="; ".join(notes),
        evidence=find_evidence(name, model, budget, paper_share, bundled=bundled),
    )


def _warnings(method: Any, prompt: NominalPrompt) -> tuple[str, ...]:
    """What the trace would say, where it is more than a schedule that was scaled."""
    # a schedule that is written for this depth says nothing here; a released order of layers does
    notes: tuple[str, ...] = method.notes(prompt.geometry.layers)
    return notes


def _rank(suggestion: Suggestion) -> tuple[int, float, str]:
    """The strongest evidence first, then the best answers, then by name."""
    evidence = suggestion.evidence
    return KINDS.index(evidence.kind), -evidence.best, suggestion.method
