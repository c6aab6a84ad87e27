"""Accuracy against cost, the best methods in one figure.

Cost rises to the right, as it does in any chart. Methods differ most where they are cheapest, so
their names stand at the left, and the scale of the accuracy at the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from transprune.bench.results.summary import TRANSPRUNE
from transprune.report.figures.labels import spread_labels
from transprune.report.figures.lines import choose_lines, line_numbers, line_points, line_style
from transprune.report.picture import Picture, render
from transprune.report.results import Series
from transprune.report.theme import Theme, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_SIZE = 9.5  # points
NAME_SPACE = 1.45  # lines of text from one name to the next
LONG_NAME = 18  # characters; on a phone a longer recipe takes two lines


def draw_accuracy(series: Sequence[Series], floor: float | None) -> Picture:
    """The overview.

    Args:
        series: methods and controls.
        floor: relative accuracy with blank images, or None where it was not measured.
    """
    left_out = [one.method for one in series if not _reaches_most(one)]
    series = [one for one in series if _reaches_most(one)] or series
    methods = [one for one in series if not one.control]
    best = max(methods, key=_cheapest_accuracy, default=series[0])
    cheapest = best.rows[-1]
    numbers = [line_numbers(one) for one in series]

    caption = (
        "Up: accuracy, relative to the unpruned model (100). To the right: the work of the prefill "
        "that is left, in percent, with every token and the choice of tokens counted (exact). Bars "
        "are 95 % intervals (bootstrap over images); those of one cost lie on each other. Names "
        "stand at the cheap end of the lines. Dashed: controls."
    )
    others = len(series) - len(choose_lines(series))
    if others:
        caption += f" Grey: {others} more, each of which has its own panel below."
    if left_out:
        caption += (
            f" Not drawn, since they cannot reach most of the budgets: {', '.join(left_out)}."
        )

    return render(
        "accuracy",
        "Accuracy against cost",
        caption,
        f"Line chart of {len(series)} methods. At {100 * cheapest.exact_share:.0f} % cost the best "
        f"method, {best.method}, has {cheapest.relative.value:.1f} % of the unpruned accuracy. All "
        "values are in the table of conditions.",
        {"floor": floor, "series": numbers},
        lambda theme: accuracy_figure(series, floor, theme),
    )


def _reaches_most(series: Series) -> bool:
    """Whether a method can be brought to at least half of its budgets; else it has other costs."""
    reached = [row.condition.reached for row in series.rows]
    return 2 * sum(reached) >= len(reached)


def _cheapest_accuracy(series: Series) -> float:
    return series.rows[-1].relative.value


def accuracy_figure(series: Sequence[Series], floor: float | None, theme: Theme) -> Figure:
    """The figure itself, with every point at its measured cost."""
    figure = new_figure(theme.width, 5.4 if theme.narrow else 5.6, theme)
    axes = figure.add_subplot()
    _draw_frame(axes, series, floor, theme)

    hues = choose_lines(series)
    for number, one in enumerate(series):
        if number not in hues:
            costs, accuracies, _, _ = line_points(one)
            axes.plot(costs, accuracies, color=theme.rule, linewidth=1, zorder=1)

    named = [series[number] for number in hues]
    heights = _name_heights(axes, named, 0.8 * figure.get_figheight(), theme)
    for one, hue, height in zip(named, hues.values(), heights, strict=True):
        style = line_style(one, hue, theme)
        _draw_line(axes, one, style)
        _draw_name(axes, one, style, height, theme)
    return figure


def _draw_frame(axes: Axes, series: Sequence[Series], floor: float | None, theme: Theme) -> None:
    """Limits and labels of the axes, the line of the unpruned model, and the floor."""
    style_axes(axes, theme)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.spines[["left", "right"]].set_visible(False)

    costs, _, low, high = np.concatenate([line_points(one) for one in series], axis=1)
    bottom = low.min() if floor is None else min(low.min(), floor)
    top = max(101.0, high.max())  # the line of the unpruned model at 100 is always in sight
    width = costs.max() - costs.min()

    axes.axhline(100, color=theme.text, linewidth=1, zorder=1.5)
    if floor is not None:
        axes.axhline(floor, color=theme.muted, linewidth=1, linestyle=":")
        # at the expensive end, where the lines are far above it
        place = (costs.max() + 1, floor)
        axes.text(*place, "blank image", color=theme.muted, fontsize=9, va="bottom", ha="right")

    margin = 0.04 * (top - bottom)
    axes.set_ylim(bottom - margin, top + margin)
    axes.set_xlim(costs.min() - 1 - 0.02 * width, costs.max() + 2)
    short = "prefill work left, %" if theme.narrow else "prefill work left, % of unpruned (exact)"
    axes.set_xlabel(f"{short} →", fontsize=10)
    axes.set_ylabel("relative accuracy (unpruned: 100)", fontsize=10)


def _name_heights(axes: Axes, named: Sequence[Series], inches: float, theme: Theme) -> list[float]:
    """Where the names stand at the left edge, near the cheap ends of their lines.

    `inches` is about the height of the axes, to which names have to keep their distance.
    """
    low, high = axes.get_ylim()
    tall = max(1 + _name(one, theme).count("\n") for one in named)

    gap = (high - low) / inches * NAME_SPACE * tall * NAME_SIZE / 72
    return spread_labels([_cheapest_accuracy(one) for one in named], gap, low, high)


def _name(series: Series, theme: Theme) -> str:
    """The name, on a phone in two lines if it is long."""
    if theme.narrow and len(series.method) > LONG_NAME:
        return series.method.replace(":", ":\n", 1)
    return series.method


def _draw_line(axes: Axes, series: Series, style: dict[str, Any]) -> None:
    costs, accuracies, low, high = line_points(series)

    axes.errorbar(
        costs,
        accuracies,
        yerr=[accuracies - low, high - accuracies],
        fmt="none",
        ecolor=style["color"],
        elinewidth=0.8,
        alpha=0.55,
    )
    axes.plot(costs, accuracies, label=series.method, **style)


def _draw_name(
    axes: Axes, series: Series, style: dict[str, Any], height: float, theme: Theme
) -> None:
    """The name beside the figure, with its marker and a thin line to the cheapest point."""
    left, right = axes.get_xlim()
    edge = left - 0.05 * (right - left)
    cost = 100 * series.rows[-1].exact_share

    connector = [edge, cost], [height, _cheapest_accuracy(series)]
    axes.plot(*connector, color=style["color"], linewidth=0.6, clip_on=False, zorder=1.2)
    marker = {**style, "linestyle": "none"}
    axes.plot([edge], [height], clip_on=False, **marker)

    axes.annotate(
        _name(series, theme),
        (edge, height),
        (-6, 0),  # points to the left of the marker
        textcoords="offset points",
        color=theme.text,
        fontsize=8.5 if theme.narrow else NAME_SIZE,
        fontweight="bold" if series.method == TRANSPRUNE else "normal",
        ha="right",
        va="center",
        annotation_clip=False,  # the name lies outside the axes
    )
