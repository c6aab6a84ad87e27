"""The page: one HTML file that needs nothing else, from tables, sentences and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from transprune import __version__
from transprune.bench.results.summary import TRANSPRUNE, Row
from transprune.report import tables, words
from transprune.report.gallery import Gallery
from transprune.report.results import Results, budget_name
from transprune.report.theme import Picture


def write_page(
    results: Results, gallery: Gallery, pictures: Mapping[str, Picture], own_command: str
) -> str:
    """The HTML text.

    Args:
        results: the run.
        gallery: pictures and examples from its questions and model.
        pictures: all figures but those of the examples, by name.
        own_command: the command that made this report.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = Environment(
        loader=PackageLoader("transprune.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    loader.filters["data_uri"] = lambda png: (
        f"data:image/png;base64,{base64.b64encode(png).decode()}"
    )
    return loader.get_template("page.html.jinja").render(
        _content(results, gallery, pictures, own_command, loader)
    )


def main_row(results: Results) -> Row | None:
    """TransPrune as it is at the budget of the ablations."""
    budget = next(
        (row.condition.budget for group in results.ablations.values() for row in group), None
    )
    rows = (
        row
        for row in results.rows
        if row.condition.method == TRANSPRUNE and row.condition.budget == budget
    )
    return next(rows, None)


def _content(
    results: Results,
    gallery: Gallery,
    pictures: Mapping[str, Picture],
    own_command: str,
    loader: Any,
) -> dict[str, Any]:
    from markupsafe import Markup

    certificate = results.run.manifest
    layers, auc_rows = tables.aucs(gallery.aucs)
    names = ("accuracy", "methods", "ablations", "signal", "transitions", "positions")
    css, _, _ = loader.loader.get_source(loader, "page.css")
    return {
        "version": __version__,
        "css": Markup(css),  # our own file, not a user's text
        "title": f"What pruning costs {certificate.settings.model}",
        "lede": words.lede(results),
        "sections": _sections(pictures, gallery),
        "pictures": {name: pictures.get(name) for name in names},
        "findings": words.findings(results, gallery.floor),
        "conditions": tables.conditions(results),
        "tasks": [task.name for task in certificate.tasks],
        "metrics": ", ".join(f"{task.name}: {task.metric}" for task in certificate.tasks),
        "task_rows": tables.tasks(results),
        "ablation_words": words.ablations(results, main_row(results)),
        "missing": gallery.missing,
        "insight_words": words.insight(gallery.aucs),
        "layers": layers,
        "aucs": auc_rows,
        "examples": [_example(example) for example in gallery.examples],
        "examples_words": _examples_words(results, gallery),
        "bill": None if results.bill is None else tables.bill(results.bill),
        "bill_columns": tables.BILL_COLUMNS,
        "bill_words": _bill_words(results),
        "certificate": tables.certificate(results),
        "command": certificate.command,
        "own_command": own_command,
        "notes": words.notes(results),
        "budget_notes": words.budget_notes(results),
        "answers": len(results.run.records),
    }


def _sections(pictures: Mapping[str, Picture], gallery: Gallery) -> list[tuple[str, str]]:
    every = [
        ("accuracy", "Accuracy", True),
        ("conditions", "Differences", True),
        ("tasks", "Tasks", True),
        ("ablations", "Ablations", "ablations" in pictures),
        ("inside", "Criteria", True),
        ("examples", "Examples", bool(gallery.examples)),
        ("bill", "Bill", True),
        ("certificate", "Certificate", True),
        ("notes", "Notes", True),
    ]
    return [(anchor, name) for anchor, name, there in every if there]


def _example(example: Any) -> dict[str, Any]:
    unpruned, pruned = example.chosen.unpruned, example.chosen.pruned
    return {
        "question": pruned.question,
        "right": " or ".join(pruned.answers),
        "unpruned": unpruned.given or "(nothing)",
        "pruned": pruned.given or "(nothing)",
        "verdict": example.verdict,
        "picture": example.picture,
    }


def _examples_words(results: Results, gallery: Gallery) -> str:
    if not gallery.examples:
        return ""
    record = gallery.examples[0].chosen.pruned
    return (
        f"{record.method} at {budget_name(record.budget)}. Questions the unpruned model answers right; the first of "
        "each family in the order of the run, and up to a third of them ones that pruning lost."
    )


def _bill_words(results: Results) -> str:
    meta = results.meta
    parts = [
        f"{meta[key]} {name}"
        for key, name in (("prompts", "prompts"), ("rounds", "rounds"), ("threads", "threads"))
        if key in meta
    ]
    return (
        f"Measured on {', '.join(parts)}."
        if parts
        else "Measured on the machine of the certificate."
    )
