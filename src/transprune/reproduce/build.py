"""Rows of a table from the answers: scores, `Acc.`, counted cost, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.metrics import Floats
from transprune.bench.results.scores import relative_accuracy
from transprune.bench.results.statistics import interval_of
from transprune.reproduce.costs import count_row
from transprune.reproduce.exhibits import NONE, Exhibit, Row
from transprune.reproduce.result import RowResult, Value
from transprune.reproduce.scores import BenchmarkScores
from transprune.reproduce.timing import Timing

Failures = Mapping[tuple[str, str], str]  # row, column -> why there is no answer


def build_row(
    exhibit: Exhibit,
    row: Row,
    scores: Mapping[str, BenchmarkScores],
    questions: Mapping[str, int],
    failures: Failures,
    timing: Timing | None = None,
) -> RowResult:
    """One row from the answers.

    Args:
        exhibit: the table.
        row: as published.
        scores: benchmark -> its scores; without an entry there is no answer at all.
        questions: benchmark -> how many questions it has.
        failures: why there is no answer.
        timing: of a table of times.
    """
    cells = []
    for column, published in zip(exhibit.columns, row.cells, strict=True):
        reason = failures.get((row.name, column), row.unknown)
        found = scores.get(column)
        cells.append(_value(row, column, published, found, questions.get(column, 0), reason))

    acc, columns, published_acc = _accuracy(exhibit, row, scores, cells)
    return RowResult(
        row=row,
        cells=tuple(cells),
        acc=acc,
        acc_columns=columns,
        published_acc=published_acc,
        counted=count_row(exhibit, row),
        exact_share=_exact_share(row, exhibit.columns, scores),
        timing=timing,
    )


def _value(
    row: Row,
    column: str,
    published: str,
    scores: BenchmarkScores | None,
    questions: int,
    reason: str,
) -> Value:
    """One cell."""
    score = None
    if scores is not None and row.recipe and published != NONE:
        score = scores.score(row.recipe)
    # a cell without a figure says why, so that a gap is no zero
    if scores is None or score is None:
        if questions and row.recipe and published != NONE:
            reason = reason or f"none of {questions} questions answered"
        return Value(published, questions=questions, reason=reason)

    answered = len(scores.records(row.recipe))
    if answered < questions and not reason:
        reason = f"{answered} of {questions} questions answered"

    interval = interval_of(BENCHMARKS[column].scale * score)
    return Value(
        published, interval.value, interval.low, interval.high, answered, questions, reason
    )


def _accuracy(
    exhibit: Exhibit, row: Row, scores: Mapping[str, BenchmarkScores], cells: Sequence[Value]
) -> tuple[Value, int, float | None]:
    """`Acc.` of a row, the number of its columns, and the published cells in the same formula."""
    full = next((other for other in exhibit.rows if other.unpruned), None)
    if full is None or not row.recipe:
        return Value(row.acc), 0, None

    own: dict[str, Floats] = {}
    unpruned: dict[str, Floats] = {}
    for column, cell in zip(exhibit.columns, row.cells, strict=True):
        found = scores.get(column)
        pair = None if found is None or cell == NONE else found.pair(row.recipe)
        # a column at which the unpruned model scores nothing has no ratio
        if pair is not None and pair[1][0] > 0:
            own[column], unpruned[column] = pair

    if not own:
        return Value(row.acc), 0, None

    interval = interval_of(relative_accuracy(own, unpruned))
    same = published_accuracy(exhibit, row, full, tuple(own))
    acc = Value(row.acc, interval.value, interval.low, interval.high)
    return _marked(acc, exhibit, cells, tuple(own), same), len(own), same


def _marked(
    acc: Value, exhibit: Exhibit, cells: Sequence[Value], own: Sequence[str], same: float | None
) -> Value:
    """`Acc.` with what it lacks: columns, or something in its cells."""
    printed = sum(cell.published != NONE for cell in cells)
    # a mean over fewer columns is compared with the published mean over the same ones
    if len(own) < printed:
        partner = NONE if same is None else f"{same:.3f}"
        shown = NONE if same is None else f"{same:.1f}"

        return replace(
            acc,
            reason=f"over {len(own)} of {printed} columns, compared with {shown} of the published "
            "cells of the same",
            compared_with=partner,
        )

    named = dict(zip(exhibit.columns, cells, strict=True))
    if any(named[name].reason for name in own):
        return replace(acc, reason="some of its cells have a remark")
    return acc


def published_accuracy(
    exhibit: Exhibit, row: Row, full: Row, columns: Sequence[str]
) -> float | None:
    """100 x mean over columns of published cell / unpruned cell; None where one is missing."""
    ratios = []
    for column, cell, whole in zip(exhibit.columns, row.cells, full.cells, strict=True):
        if column not in columns:
            continue
        if NONE in (cell, whole):
            return None
        ratios.append(100 * float(cell) / float(whole))

    return fmean(ratios) if ratios else None


def _exact_share(
    row: Row, columns: Sequence[str], scores: Mapping[str, BenchmarkScores]
) -> float | None:
    """Mean measured prefill of all answers of a row."""
    shares: list[float] = []
    for column in columns:
        if row.recipe and column in scores:
            shares += [record.exact_share for record in scores[column].records(row.recipe)]
    return float(100 * np.mean(shares)) if shares else None
