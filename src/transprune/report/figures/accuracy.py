"""Accuracy against cost, all methods in one figure.

Cost falls to the right: methods differ most where they are cheapest, so their names stand at the
right ends of their lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from transprune.bench.results.summary import TRANSPRUNE
from transprune.report.figures.lines import line_numbers, line_points, line_style
from transprune.report.results import Series
from transprune.report.theme import (
    Picture,
    Theme,
    new_figure,
    render,
    spread_labels,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]


def draw_accuracy(series: Sequence[Series], floor: float | None) -> Picture:
    """The overview.

    Args:
        series: methods and controls.
        floor: relative accuracy with blank images, or None where it was not measured.
    """
    methods = [one for one in series if not one.control]
    best = max(methods, key=_cheapest_accuracy, default=series[0])
    cheapest = best.rows[-1]
    numbers = [line_numbers(one) for one in series]

    return render(
        "accuracy",
        "Accuracy against cost",
        "Relative accuracy (100 = unpruned) against measured prefill FLOPs, all tokens and scoring "
        "included; bars are 95 % intervals (bootstrap over images). Cost falls to the right. "
        "Dotted: controls. Names stand beside the cheapest point of each method.",
        f"Line chart of {len(series)} methods. At {100 * cheapest.exact_share:.0f} % cost the best "
        f"method, {best.method}, has {cheapest.relative.value:.1f} % of the unpruned accuracy. All "
        "values are in the table of conditions.",
        {"floor": floor, "series": numbers},
        lambda theme: _figure(series, floor, theme),
    )


def _cheapest_accuracy(series: Series) -> float:
    return series.rows[-1].relative.value


def _figure(series: Sequence[Series], floor: float | None, theme: Theme) -> Figure:
    figure = new_figure(8.4, max(4.6, 0.235 * len(series) + 1.2), theme)
    axes = figure.add_subplot()
    _draw_frame(axes, series, floor, theme)

    # `left` is the higher cost, since the axis is inverted
    left, right = axes.get_xlim()
    width = left - right
    names = _name_positions(axes, series)

    for number, one in enumerate(series):
        style = line_style(one, number, theme)
        # several methods have the same cost: shift them, so that their intervals do not overlap
        shift = 0.006 * width * (number % 5 - 2)
        _draw_line(axes, one, style, shift)

        end = (100 * one.rows[-1].exact_share - shift, _cheapest_accuracy(one))
        if number in names:
            _name_at_edge(axes, one, end, (right - 0.03 * width, names[number]), style["color"])
        else:
            _name_at_point(axes, one, end, style["color"])
    return figure


def _draw_frame(axes: Axes, series: Sequence[Series], floor: float | None, theme: Theme) -> None:
    """Limits and labels of the axes, the line of the unpruned model, and the floor."""
    style_axes(axes, theme)
    points = np.concatenate([line_points(one) for one in series], axis=1)
    costs, _, low, high = points
    bottom = low.min()
    top = max(101.0, high.max())  # the line of the unpruned model at 100 is always in sight
    left = costs.max() + 2 + 0.04 * (costs.max() - costs.min())

    if floor is not None:
        bottom = min(bottom, floor)
        axes.axhline(floor, color=theme.muted, linewidth=1, linestyle=":")
        label = " blank image (language only)"
        axes.text(left, floor, label, color=theme.muted, fontsize=9, va="bottom")

    axes.axhline(100, color=theme.text, linewidth=1)
    axes.text(left, 100, " unpruned", color=theme.text, fontsize=9, va="bottom")

    margin = 0.04 * (top - bottom)
    axes.set_ylim(bottom - margin, top + margin)
    axes.set_xlim(left, costs.min() - 2)  # inverted: the cost falls to the right
    axes.set_xlabel("prefill cost, % of the unpruned FLOPs (exact)     cheaper →", fontsize=10)
    axes.set_ylabel("relative accuracy, % of unpruned", fontsize=10)


def _name_positions(axes: Axes, series: Sequence[Series]) -> dict[int, float]:
    """Number of a series -> height of its name at the right edge.

    A method that cannot be as cheap as the others ends inside the figure. Its name stands at its
    last point, so it is left out here.
    """
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()

    # a line that ends to the left of this has room for its name inside the figure
    edge = right + 0.12 * (left - right)

    heights: dict[int, float] = {}
    for number, one in enumerate(series):
        if 100 * one.rows[-1].exact_share <= edge:
            heights[number] = _cheapest_accuracy(one)

    # so far apart that two names of 9 pt do not touch, closer where there are very many
    gap = (high - low) / max(18, 1.02 * len(heights))
    positions = spread_labels(list(heights.values()), gap, low, high)
    return dict(zip(heights, positions, strict=True))


def _draw_line(axes: Axes, series: Series, style: dict[str, Any], shift: float) -> None:
    costs, accuracies, low, high = line_points(series)
    shifted = costs - shift

    axes.errorbar(
        shifted,
        accuracies,
        yerr=[accuracies - low, high - accuracies],
        fmt="none",
        ecolor=style["color"],
        elinewidth=0.8,
        alpha=0.55,
    )
    axes.plot(shifted, accuracies, **style)


def _weight(series: Series) -> str:
    return "bold" if series.method == TRANSPRUNE else "normal"


def _name_at_point(axes: Axes, series: Series, end: Point, color: str) -> None:
    """The name right above the last point of the line."""
    offset = (5, 5)  # in points, up and to the right

    axes.annotate(
        series.method,
        end,
        offset,
        textcoords="offset points",
        color=color,
        fontsize=8.5,
        fontweight=_weight(series),
        va="bottom",
    )


def _name_at_edge(axes: Axes, series: Series, end: Point, place: Point, color: str) -> None:
    """The name beside the figure, with a thin line to the last point."""
    connector = {
        "arrowstyle": "-",
        "color": color,
        "linewidth": 0.5,
        "shrinkA": 1,
        "shrinkB": 2,
        "relpos": (0, 0.5),  # the connector ends at the middle of the name's left side
    }

    axes.annotate(
        series.method,
        end,
        place,
        color=color,
        va="center",
        fontsize=9,
        fontweight=_weight(series),
        annotation_clip=False,  # the name lies outside the axes
        arrowprops=connector,
    )
