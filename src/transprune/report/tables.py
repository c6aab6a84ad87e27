"""The tables of the page, as plain text cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from transprune.bench.results.summary import Row
from transprune.report.figures.signal import curve_label
from transprune.report.phrases import MISSING, budget_name, describe_difference, percent
from transprune.report.results import Results, competes

MEAN = "mean"  # column of the mean over tasks

Cells = dict[str, Any]


def condition_table(results: Results) -> list[Cells]:
    """Rows by budget, with the best method of each budget marked."""
    # a group of its own, since it belongs to no budget
    unpruned = _condition_cells(results.unpruned, best=False)
    groups: list[Cells] = [{"name": "unpruned", "rows": [unpruned]}]

    for budget, rows in results.budgets:
        accuracies = [row.relative.value for row in rows if competes(row)]
        top = max(accuracies, default=None)
        lines = []
        for row in rows:
            best = _is_best(row, row.relative.value, top)
            lines.append(_condition_cells(row, best=best))
        groups.append({"name": f"at {budget_name(budget)}", "rows": lines})
    return groups


def task_table(results: Results) -> list[Cells]:
    """Scores by budget and task, with the best method of each task and budget marked."""
    columns = [*(task.name for task in results.manifest.tasks), MEAN]
    unpruned = _score_cells(results.unpruned, columns, {})
    groups: list[Cells] = [{"name": "unpruned", "rows": [unpruned]}]

    for budget, rows in results.budgets:
        methods = [row for row in rows if competes(row)]
        tops: dict[str, float | None] = {}  # None without any method
        for column in columns:
            tops[column] = _top(methods, column)

        lines = [_score_cells(row, columns, tops) for row in rows]
        groups.append({"name": f"at {budget_name(budget)}", "rows": lines})
    return groups


def _top(methods: Sequence[Row], column: str) -> float | None:
    """The best score in a column; None where most methods have it, which singles out none."""
    scores = []
    for row in methods:
        # a task that was not answered yet cannot win
        score = _score(row, column)
        scores.append(0.0 if score is None else round(score, 1))

    top = max(scores, default=None)
    if top is None or (len(scores) > 1 and 2 * scores.count(top) > len(scores)):
        return None
    return top


def auc_table(curves: Mapping[str, Sequence[float]]) -> tuple[range, list[Cells]]:
    """The layers, and one row per curve."""
    last = max((len(values) for values in curves.values()), default=0)
    rows = []
    for name, values in curves.items():
        cells = [f"{value:.2f}" for value in values]
        cells += [MISSING] * (last - len(values))  # IGA has no value at the last layer
        rows.append({"name": curve_label(name), "cells": cells})
    return range(1, last + 1), rows


def manifest_table(results: Results) -> list[tuple[str, str]]:
    """The settings that identify the run, and where it was made."""
    manifest = results.manifest
    settings = manifest.settings
    scenes = "all" if settings.n is None else settings.n
    resamples = f"{results.unpruned.n_resamples:,}"

    return [
        ("model", f"{settings.model}, weights {settings.weights or 'not fingerprinted'}"),
        ("questions", f"{settings.tasks} {settings.split}, fingerprint {settings.items}"),
        ("n", f"{scenes}; {results.questions} questions"),
        ("seed", str(settings.seed)),
        ("intervals", f"95 %, {resamples} paired bootstrap resamples of the images"),
        ("precision", f"{settings.dtype}, attention {settings.attention}, {settings.device}"),
        ("versions", _join_pairs(manifest.versions)),
        ("commit", manifest.commit or "not from a checkout"),
        ("started", manifest.started),
        ("machine", _join_pairs(manifest.machine)),
    ]


def _join_pairs(pairs: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in pairs.items())


def _condition_cells(row: Row, *, best: bool) -> Cells:
    accuracy = row.relative
    name = row.condition.method
    if not row.condition.reached:
        name += " †"  # explained in the caption

    return {
        "name": name,
        "acc": f"{accuracy.value:.1f} [{accuracy.low:.1f}, {accuracy.high:.1f}]",
        "best": best,
        "exact": percent(row.exact_share),
        "paper": percent(row.paper_share),
        "kv": percent(row.kv_share),
        "unpruned": describe_difference(row.against_unpruned),
        "transprune": describe_difference(row.against_transprune),
        "n": row.n,
    }


def _score_cells(row: Row, columns: Sequence[str], tops: Mapping[str, float | None]) -> Cells:
    cells = []

    for column in columns:
        score = _score(row, column)
        if score is None:
            cells.append({"text": MISSING, "best": False})
        else:
            best = _is_best(row, score, tops.get(column))
            cells.append({"text": f"{score:.1f}", "best": best})

    return {"name": row.condition.method, "cells": cells}


def _score(row: Row, column: str) -> float | None:
    """A score, or None where there is none yet, or too few questions for one (NaN)."""
    scores = {task.task: task.score.value for task in row.tasks}
    scores[MEAN] = row.score.value

    score = scores.get(column)
    return score if score is not None and isfinite(score) else None


def _is_best(row: Row, value: float, top: float | None) -> bool:
    # compared as printed, so that equal figures get equal marks
    return top is not None and competes(row) and round(value, 1) == round(top, 1)
