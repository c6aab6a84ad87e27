"""What `transprune suggest` prints: one table for each kind of evidence, then the lines to paste."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from transprune.cli.console import legend, new_table
from transprune.cli.counts import tokens_left
from transprune.cli.suggest_evidence import (
    BUNDLED_ONLY,
    MEASURED_HERE,
    NEAR,
    NOTHING,
    PUBLISHED_ELSEWHERE,
    PUBLISHED_HERE,
    published_model,
)
from transprune.cli.suggest_published import SOURCE
from transprune.cli.units import percent

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.bench.run.nominal import NominalPrompt
    from transprune.cli.suggest_settings import Suggestion

TITLES = {
    MEASURED_HERE: "Measured on this model, the bundled one",
    PUBLISHED_HERE: "Published on {model}, whose sizes this model has",
    PUBLISHED_ELSEWHERE: "Published on another model, LLaVA-1.5-7B",
    BUNDLED_ONLY: "Measured on the bundled model only, which knows coloured shapes",
    NOTHING: "No evidence at hand",
}
CAUTION = (
    "That model knows coloured shapes only, so this says little of yours: try it on questions of "
    "your own first."
)


def tables(
    model: str,
    prompt: NominalPrompt,
    share: float,
    found: list[Suggestion],
    refused: dict[str, str],
    notes: list[str],
) -> list[Any]:
    """Everything that is printed, from top to bottom.

    Args:
        model: as it was given.
        prompt: the model's sizes and the prompt.
        share: the budget.
        found: the suggestions, the strongest evidence first.
        refused: method -> why it cannot.
        notes: about the model.
    """
    parts: list[Any] = [_heading(prompt, share), "", *_answer(found, prompt), ""]
    numbers = {entry.method: number for number, entry in enumerate(found, start=1)}
    for kind, entries in groupby(found, key=lambda entry: entry.evidence.kind):
        parts += [_table(kind, list(entries), numbers, prompt), ""]

    parts += [_legend(), ""]
    parts += [_recipes(found, numbers), ""]
    if refused:
        parts += [_refused(refused), ""]
    own = f"transprune bench --model {model} --tasks FOLDER"
    return [*parts, *notes, f"On questions of your own, the answer for your model: {own}"]


def _heading(prompt: NominalPrompt, share: float) -> str:
    name = prompt.geometry.name
    return (
        f"{name}, {prompt.visual_tokens} visual + {prompt.text_tokens} text tokens: methods that "
        f"do {100 * share:g} % of the unpruned prefill work"
    )


def _answer(found: list[Suggestion], prompt: NominalPrompt) -> list[str]:
    """The first suggestion, why it is the first, and the lines to paste."""
    if not found:
        return ["No method reaches this budget: try a larger --budget."]

    first = found[0]
    return [
        f"Strongest evidence: {first.method}. {_reason(first)}",
        "",
        f'prune(model, "{first.recipe}")',
        f"--method '{first.recipe}'",
    ]


def _reason(entry: Suggestion) -> str:
    """The figure that puts a suggestion where it is, with its own cost beside it."""
    evidence = entry.evidence
    row = evidence.published
    if evidence.kind in (PUBLISHED_HERE, PUBLISHED_ELSEWHERE) and row is not None:
        return (
            f"On {row.model} it was published with {row.accuracy:.1f} % of the unpruned score at "
            f"{row.share:g} % of the work as papers count it; this setting takes "
            f"{percent(entry.paper_share)} in that count."
        )

    if evidence.accuracy is not None:
        caution = "" if evidence.kind == MEASURED_HERE else f" {CAUTION}"
        return (
            f"On the bundled model it had {evidence.accuracy:.1f} % of the unpruned score at a "
            f"budget of {evidence.budget} %.{caution}"
        )

    return "There is no figure at hand for any method here."


def _title(kind: str, prompt: NominalPrompt) -> str:
    model = published_model(prompt.geometry)
    if kind == PUBLISHED_HERE and model == prompt.geometry.name:
        return f"Published on {model}"
    return TITLES[kind].format(model=model)


def _table(
    kind: str, entries: list[Suggestion], numbers: dict[str, int], prompt: NominalPrompt
) -> Table:
    """The suggestions with one kind of evidence, the best answers first."""
    columns = ("#", "method", "tokens left @ layer", "published", "bundled")
    table = new_table(_title(kind, prompt), columns, wrap=columns[1:3])
    # equal widths in all tables, so that they read as one
    for column, width in zip(table.columns, (2, 26, 26, 9, 9), strict=True):
        column.min_width = width

    for entry in entries:
        upper = "≤ " if entry.at_most else ""
        moved = "*" if entry.note else ""
        table.add_row(
            str(numbers[entry.method]),
            f"{entry.method}{moved}",
            upper + tokens_left(entry.tokens, entry.boundaries),
            _published(entry),
            _measured(entry),
        )

    return table


def _published(entry: Suggestion) -> str:
    row = entry.evidence.published
    return "-" if row is None else f"{row.accuracy:.1f} {row.share:>2.0f}%"


def _measured(entry: Suggestion) -> str:
    evidence = entry.evidence
    if evidence.budget is None or evidence.accuracy is None:
        return "-"
    return f"{evidence.accuracy:.1f} {evidence.budget:>2}%"


def _legend() -> Table:
    return legend(
        {
            "published": "right answers relative to unpruned (100 is as good), and the published "
            f"cost nearest to this one (paper): {SOURCE}, Tables 1 to 5, which average different "
            "benchmarks",
            "bundled": "the same, measured here on a model of 9 MB at the nearest budget (exact): "
            "docs/accuracy.md. The order of methods there is its own",
            "order": "the strongest evidence first, then its figure. Nothing is interpolated. `-`: "
            f"no figure at hand within {100 * (NEAR - 1):.0f} % of this cost; the method's own "
            "paper has some",
        }
    )


def _recipes(found: list[Suggestion], numbers: dict[str, int]) -> Table:
    """The text of each suggestion, and what was changed to reach the budget."""
    columns = ("#", "work\n(exact)", "work\n(paper)", "recipe to paste")
    table = new_table("Settings", columns, wrap=("recipe to paste",))
    for entry in found:
        note = f"\n* {entry.note}" if entry.note else ""
        # a recipe has no brackets, a note may have some
        table.add_row(
            str(numbers[entry.method]),
            percent(entry.exact_share),
            percent(entry.paper_share),
            (entry.recipe + note).replace("[", "\\["),
        )

    return table


def _refused(refused: dict[str, str]) -> Table:
    table = new_table("Not possible here", ("method", "why"), left=("method",), wrap=("why",))
    for name, reason in refused.items():
        table.add_row(name, reason.replace("[", "\\["))
    return table
