"""Sentences about the best method of each budget, and about significant differences."""

from __future__ import annotations

from collections.abc import Sequence

from transprune.bench.results.summary import TRANSPRUNE, Row
from transprune.report.blank import FLOOR_QUESTIONS
from transprune.report.figures.ablations import variant_name
from transprune.report.phrases import budget_name, join_words
from transprune.report.results import Results, competes

MAX_NAMES = 6  # of methods in one sentence; the table of conditions has all


def findings(results: Results, floor: float | None) -> list[str]:
    """Per budget: the best method, and which differ significantly from TransPrune."""
    sentences = []
    for budget, rows in results.budgets:
        methods = [row for row in rows if competes(row)]
        if methods:
            sentences.append(_budget_finding(budget, methods))

    if floor is not None:
        sentences.append(
            f"With blank images the unpruned model keeps {floor:.0f} % of its accuracy: what it "
            "guesses without seeing, the language-only floor (up to "
            f"{FLOOR_QUESTIONS} questions of each task)."
        )
    return sentences


def ablations(results: Results, main: Row | None) -> list[str]:
    """Which variants differ significantly from TransPrune with its own settings."""
    rows = results.variants
    if main is None or not rows:
        return []

    better = [variant_name(row) for row in _significant(rows, "better")]
    worse = [variant_name(row) for row in _significant(rows, "worse")]
    return [
        f"At {budget_name(main.condition.budget)}, of {len(rows)} variants significantly better "
        f"than TransPrune with its own settings: {join_words(better)}. Significantly worse: "
        f"{join_words(worse)}. For all others no difference is shown here."
    ]


def _budget_finding(budget: float | None, methods: Sequence[Row]) -> str:
    """One sentence about the methods at a budget, which are sorted from the best down."""
    best = methods[0]
    # `relative` is in percent of the unpruned accuracy
    parts = [
        f"At {budget_name(budget)}: {best.condition.method} is best with "
        f"{best.relative.value:.1f} % of the unpruned accuracy"
    ]

    main = next((row for row in methods if row.condition.method == TRANSPRUNE), None)
    if main is not None and main is not best:
        parts.append(f"TransPrune has {main.relative.value:.1f} %")

    if main is not None:
        for verdict in ("better", "worse"):
            names = [row.condition.method for row in _significant(methods, verdict)]
            parts.append(f"significantly {verdict} than TransPrune: {first_of(names)}")
    return "; ".join(parts) + "."


def first_of(names: Sequence[str]) -> str:
    """The first names, which are the best methods, and how many more there are."""
    if len(names) <= MAX_NAMES:
        return join_words(names)
    return join_words([*names[:MAX_NAMES], f"{len(names) - MAX_NAMES} more"])


def _significant(rows: Sequence[Row], verdict: str) -> list[Row]:
    """Rows that are better, or worse, than TransPrune after Holm's correction."""
    found = []
    for row in rows:
        difference = row.against_transprune  # None for TransPrune itself
        if difference is not None and difference.sure and difference.verdict == verdict:
            found.append(row)
    return found
