"""Lines of accuracy against cost, as the overview and the small panels share them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transprune.bench.results.summary import TRANSPRUNE
from transprune.report.results import Series
from transprune.report.theme import HUES, LINE_STYLES, MARKERS, Theme


def line_style(series: Series, number: int, theme: Theme) -> dict[str, Any]:
    """Arguments of `Axes.plot` for the series with this number; controls are dotted."""
    main = series.method == TRANSPRUNE
    color = theme.hue(number)
    # the line style changes once the hues repeat
    style = LINE_STYLES[number // len(HUES) % len(LINE_STYLES)]

    if series.control:
        color = theme.text
        style = ":"

    return {
        "color": color,
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": style,
        "linewidth": 2.4 if main else 1.2,
        "markersize": 7 if main else 4.5,
        "markeredgecolor": theme.background,
        "markeredgewidth": 0.6,
    }


def line_points(series: Series) -> NDArray[np.float64]:
    """Four rows, [4, points]: cost, relative accuracy, low and high end of its interval.

    The cost is in percent of the unpruned prefill (`exact`), the rest in percent of the unpruned
    accuracy.
    """
    points = []
    for row in series.rows:
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
