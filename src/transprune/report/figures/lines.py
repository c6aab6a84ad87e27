"""Lines of accuracy against cost, as the overview and the small panels share them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transprune.bench.results.summary import TRANSPRUNE
from transprune.report.results import Series
from transprune.report.theme import HUES, MARKERS, Theme

# controls that say how far choosing well, and choosing blindly, can go
REFERENCES = ("random", "oracle", "oracle-0")


def choose_lines(series: Sequence[Series]) -> dict[int, int]:
    """Number of a series -> number of its hue, for as many lines as there are hues.

    TransPrune comes first, then the best methods by mean accuracy over their budgets; random choice
    and the oracles keep their places. The order of the hues is that of the series.
    """
    ranked = sorted(range(len(series)), key=lambda number: _rank(series[number]))
    chosen = sorted(ranked[: len(HUES)])
    return dict(zip(chosen, range(len(HUES)), strict=False))


def _rank(series: Series) -> tuple[int, float]:
    """Sorts the series by how much they belong into the overview."""
    accuracies = [row.relative.value for row in series.rows]
    mean = sum(accuracies) / len(accuracies)

    if series.method == TRANSPRUNE:
        return 0, 0.0
    if series.method in REFERENCES:
        return 1, 0.0
    return 3 if series.control else 2, -mean


def line_style(series: Series, hue: int | None, theme: Theme) -> dict[str, Any]:
    """Arguments of `Axes.plot`; controls are dashed.

    Args:
        series: the line.
        hue: its hue, or None for one without a colour of its own.
        theme: of the figure.
    """
    main = series.method == TRANSPRUNE

    return {
        "color": theme.muted if hue is None else theme.hue(hue),
        "marker": "o" if hue is None else MARKERS[hue],
        "linestyle": "--" if series.control else "-",
        "linewidth": 2.4 if main else 1.3,
        "markersize": 7 if main else 5,
        "markeredgecolor": theme.background,
        "markeredgewidth": 0.6,
    }


def line_points(series: Series) -> NDArray[np.float64]:
    """Four rows, [4, points]: cost, relative accuracy, low and high end of its interval.

    The cost is in percent of the unpruned prefill (`exact`), the rest in percent of the unpruned
    accuracy. The cheapest point comes first.
    """
    points = []
    for row in reversed(series.rows):
        accuracy = row.relative
        points.append((100 * row.exact_share, accuracy.value, accuracy.low, accuracy.high))
    return np.array(points).T  # [points, 4] -> [4, points]


def line_numbers(series: Series) -> dict[str, Any]:
    """The line for `figures.json`."""
    points = []

    for row in series.rows:
        point = {
            "condition": row.condition.name,
            "budget": row.condition.budget,
            "exact_share": row.exact_share,
            "paper_share": row.paper_share,
            "relative": row.relative.value,
            "low": row.relative.low,
            "high": row.relative.high,
            "n": row.n,
        }
        points.append(point)

    return {"method": series.method, "group": series.group, "points": points}
