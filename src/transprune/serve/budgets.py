"""Methods on offer, scaled to the budget of a request and counted for its own prompt.

Budgets are whole percents and only methods on offer have them, so nothing that a client writes is
resolved. A setting is found by counting, without the model, and the latest ones are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from transprune.bench.run.budgets import fit
from transprune.bench.run.nominal import NominalPrompt
from transprune.errors import PruneError
from transprune.models.checkpoint import Checkpoint
from transprune.serve.recipes import Recipe
from transprune.serve.refusal import Refusal
from transprune.session import prune

FIELD = "pruning_budget"
MOST = 128  # settings that are kept


@dataclass(frozen=True)
class Counts:
    """Tokens of a prompt: visual ones, all others, and those of them behind the last visual one."""

    visual: int
    text: int
    instruction: int


class Budgets:
    """Scales the methods of one server."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._solve = lru_cache(MOST)(self._solve_anew)

    def scale(self, recipe: Recipe, budget: float, counts: Counts) -> Recipe:
        """The method at a budget, a share of the unpruned prefill.

        Raises:
            Refusal: there is nothing to scale, or the method cannot reach the budget.
        """
        if recipe.method is None:
            raise Refusal("the unpruned model has no budget; name a method", param=FIELD)
        if not counts.visual:
            raise Refusal("a budget needs a picture: only visual tokens are dropped", param=FIELD)

        found = self._solve(recipe, round(100 * budget), counts)
        if isinstance(found, str):
            raise Refusal(found, param=FIELD, code="budget_not_reached")
        return found

    def _solve_anew(self, recipe: Recipe, percent: int, counts: Counts) -> Recipe | str:
        """The scaled method, or why there is none."""
        assert recipe.method is not None and recipe.session is not None
        prompt = NominalPrompt(
            recipe.session.geometry, counts.visual, counts.text, counts.instruction
        )

        try:
            found = fit(recipe.method, percent / 100, prompt)
            if not found.reached:
                return f"{recipe.name}: {found.note}"
            # not attached here: another session may be running
            checkpoint = self._checkpoint
            session = prune(checkpoint.model, found.method, text_tower=checkpoint.text_tower)
        except PruneError as error:
            return f"{recipe.name} has no setting for this budget: {error}"

        notes = (found.note,) if found.note else ()
        return replace(
            recipe, method=found.method, session=session, budget=percent / 100, notes=notes
        )
