"""`transprune suggest`: settings of every method at a budget, with what is known of their answers.

Counted from the configuration alone. Nothing is measured, and no accuracy is made up: each figure
says on which model it was published or measured, and a method without one has none.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import print_json, show, status
from transprune.cli.cost import find_geometry
from transprune.cli.options import AnyModel, Json, TextTokens, VisualTokens
from transprune.nano import PROMPT as BUNDLED_PROMPT

if TYPE_CHECKING:
    from transprune.bench.run.nominal import NominalPrompt
    from transprune.cli.suggest_settings import Suggestion

# sizes that can be counted, of a model whose class nobody has described yet
WITHOUT_FAMILY = ("Video-LLaVA-7B",)


def suggest_command(
    model: AnyModel = "llava-1.5-7b",
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="PERCENT",
            help="How much of the unpruned prefill work a method may do (exact).",
        ),
    ] = "41",
    visual_tokens: VisualTokens = None,
    text_tokens: TextTokens = None,
    as_json: Json = False,
) -> None:
    """Suggest a method and its settings for a model and a budget.

    No weights are read. Each line says what its evidence is: published on which model, measured on
    the bundled model only, or none.
    """
    with status(as_json) as progress:
        progress("reading the configuration")
        share = read_budget(budget)
        prompt = _prompt(model, visual_tokens, text_tokens)

        progress("bringing every method to the budget")
        found, refused = _suggest(model, prompt, share)

    notes = _model_notes(model, prompt)
    if as_json:
        print_json(_document(prompt, share, found, refused, notes))
        return

    from transprune.cli.suggest_tables import tables

    show(*tables(model, prompt, share, found, refused, notes))


def read_budget(text: str) -> float:
    """A share from `41` or `41%`.

    Raises:
        MethodError: not one number between 0 and 100.
    """
    from transprune.bench.run.budgets import parse_budgets
    from transprune.errors import MethodError

    budgets = parse_budgets(text)
    if len(budgets) != 1 or budgets[0] is None:
        raise MethodError(
            f"give one budget, in percent of the unpruned prefill, as --budget 41; got {text!r}"
        )

    return budgets[0]


def _prompt(model: str, visual_tokens: int | None, text_tokens: int | None) -> NominalPrompt:
    """The prompt that costs are counted for.

    As `transprune cost` counts it, but for the bundled model, whose questions are short.
    """
    from transprune.bench.run.nominal import NominalPrompt
    from transprune.nano import NANO

    geometry = find_geometry(model)
    visual = geometry.visual_tokens if visual_tokens is None else visual_tokens
    if text_tokens is None and model == NANO:
        return NominalPrompt(geometry, visual, *BUNDLED_PROMPT)

    text = geometry.text_tokens if text_tokens is None else text_tokens
    return NominalPrompt(geometry, visual, text, instruction_tokens=text)


def _suggest(
    model: str, prompt: NominalPrompt, share: float
) -> tuple[list[Suggestion], dict[str, str]]:
    """The methods this model can run at the budget, and why the others cannot."""
    from transprune.cli.guard import quiet_libraries
    from transprune.cli.suggest_settings import suggest
    from transprune.cli.suggest_support import has_configuration, unsupported
    from transprune.nano import NANO

    found, refused = suggest(prompt, share, bundled=model == NANO)
    if not has_configuration(model):
        return found, refused

    with quiet_libraries(bars=False):
        reasons = unsupported(model, [entry.recipe for entry in found])

    able = [entry for entry in found if entry.recipe not in reasons]
    for entry in found:
        if entry.recipe in reasons:
            refused[entry.method] = reasons[entry.recipe]

    return able, refused


def _model_notes(model: str, prompt: NominalPrompt) -> list[str]:
    """What a reader should know about the model before using a line."""
    from transprune.cli.suggest_support import has_configuration

    if prompt.geometry.name in WITHOUT_FAMILY:
        return [
            f"transprune cannot prune {prompt.geometry.name} yet: no family describes its class. "
            "The settings are counted from its sizes."
        ]

    if not has_configuration(model):
        return [
            "Counted from known sizes; whether your checkpoint can run a method: transprune doctor "
            "--model FOLDER"
        ]

    return []


def _document(
    prompt: NominalPrompt,
    share: float,
    found: list[Suggestion],
    refused: dict[str, str],
    notes: list[str],
) -> dict[str, Any]:
    geometry = replace(prompt.geometry, visual_tokens=prompt.visual_tokens)
    return {
        "model": asdict(geometry),
        "budget": share,
        "visual_tokens": prompt.visual_tokens,
        "text_tokens": prompt.text_tokens,
        "suggestions": [entry.to_dict() for entry in found],
        "refused": refused,
        "notes": notes,
    }
