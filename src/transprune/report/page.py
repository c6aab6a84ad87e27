"""The page: one self-contained HTML file from tables, sentences and figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transprune import __version__
from transprune.bench.results.summary import TRANSPRUNE, Row
from transprune.report import findings, tables, words
from transprune.report.cost_table import COST_COLUMNS, cost_table
from transprune.report.examples import Example
from transprune.report.gallery import Gallery
from transprune.report.picture import Picture
from transprune.report.results import Results
from transprune.report.svg import color_rules
from transprune.report.terms import TERMS
from transprune.report.theme import DARK, LIGHT

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "page.html.jinja"
STYLE = "page.css"
NO_ANSWER = "(nothing)"
FIGURES = ("accuracy", "methods", "ablations", "signal", "transitions", "positions")


def write_page(
    results: Results, gallery: Gallery, pictures: Mapping[str, Picture], own_command: str
) -> str:
    """The HTML text.

    Args:
        results: the run.
        gallery: examples and values from the questions and the model of the run.
        pictures: all figures but those of the examples, by name.
        own_command: the command that made this report.
    """
    environment = new_environment()
    content = _content(results, gallery, pictures)
    content["css"] = page_style(environment)
    content["own_command"] = own_command
    return environment.get_template(TEMPLATE).render(content)


def main_row(results: Results) -> Row | None:
    """TransPrune with its own settings at the budget of the ablations."""
    variants = results.variants
    budget = variants[0].condition.budget if variants else None  # one budget for all of them

    for row in results.rows:
        if row.condition.method == TRANSPRUNE and row.condition.budget == budget:
            return row
    return None


def new_environment(*packages: str) -> Environment:
    """Templates of the report, and before them those of other packages, by their names."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    # by package name, so that it also works from a zip file
    loaders = [PackageLoader(name, ".") for name in (*packages, "transprune.report")]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,  # questions, answers and commands come from others
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["drawing"] = _drawing
    return environment


def _data_uri(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _drawing(svg: str) -> str:
    from markupsafe import Markup

    return Markup(svg)  # matplotlib has escaped its texts


def page_style(environment: Environment) -> str:
    """The style sheet of a page, with the colours of the figures."""
    from markupsafe import Markup

    assert environment.loader is not None
    css, _, _ = environment.loader.get_source(environment, STYLE)
    colors = color_rules(LIGHT.variables(), DARK.variables())
    return Markup(f"{colors}\n{css}")  # our own text, so it needs no escaping


def _content(results: Results, gallery: Gallery, pictures: Mapping[str, Picture]) -> dict[str, Any]:
    """Everything that the template shows, but for style and command."""
    manifest = results.manifest
    layers, auc_rows = tables.auc_table(gallery.aucs)
    metrics = {task.name: task.metric for task in manifest.tasks}
    shown = {name: pictures.get(name) for name in FIGURES}
    examples = [_example(example) for example in gallery.examples]
    costs = None
    if results.costs is not None:
        costs = cost_table(results.costs)

    return {
        "version": __version__,
        "title": f"Token pruning on {manifest.settings.model}: accuracy and cost",
        "introduction": words.introduction(results),
        "sections": _sections(pictures, gallery),
        "pictures": shown,  # None where a figure is missing
        "terms": TERMS,
        "unscored": words.unscored(results),
        "findings": findings.findings(results, gallery.floor),
        "conditions": tables.condition_table(results),
        "metrics": metrics,
        "task_rows": tables.task_table(results),
        "ablation_words": findings.ablations(results, main_row(results)),
        "missing": gallery.missing,
        "insight_words": words.insight(gallery.aucs),
        "layers": layers,
        "aucs": auc_rows,
        "examples": examples,
        "examples_words": words.examples(gallery),
        "costs": costs,
        "cost_columns": COST_COLUMNS,
        "cost_words": words.cost_setup(results),
        "manifest": tables.manifest_table(results),
        "command": manifest.command,
        "notes": words.notes(results),
        "budget_notes": words.budget_notes(results),
        "answers": len(results.run.records),
    }


def _sections(pictures: Mapping[str, Picture], gallery: Gallery) -> list[tuple[str, str]]:
    """Anchor (as in the template) and name of each section, for the navigation."""
    sections = [
        ("words", "Words"),
        ("accuracy", "Accuracy"),
        ("conditions", "Differences"),
        ("tasks", "Tasks"),
    ]
    if "ablations" in pictures:
        sections.append(("ablations", "Ablations"))

    sections.append(("inside", "Criteria"))
    if gallery.examples:
        sections.append(("examples", "Examples"))

    sections += [
        ("costs", "Measured costs"),
        ("manifest", "Manifest"),
        ("notes", "Notes"),
    ]
    return sections


def _example(example: Example) -> dict[str, Any]:
    pair = example.pair

    return {
        "question": pair.pruned.question,
        "right": " or ".join(pair.pruned.answers),
        "unpruned": pair.unpruned.given or NO_ANSWER,
        "pruned": pair.pruned.given or NO_ANSWER,
        "verdict": example.verdict,
        "alt": example.picture.alt,
        "caption": example.picture.caption,
        "panels": example.panels,
    }
