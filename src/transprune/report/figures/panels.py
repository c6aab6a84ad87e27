"""Accuracy against cost in small multiples: one panel per method."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from transprune.report.figures.lines import line_numbers, line_points, line_style
from transprune.report.results import Series
from transprune.report.theme import Picture, Theme, new_figure, render, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_PER_ROW = 4


def draw_panels(series: Sequence[Series]) -> Picture:
    """One panel per method, with all other methods as faint lines behind it."""
    numbers = [line_numbers(one) for one in series]

    return render(
        "methods",
        "One panel per method",
        "The same values, one method per panel with its 95 % interval as a band; the faint lines "
        "are all other methods.",
        f"{len(series)} small line charts, one per method, with the values of the table of "
        "conditions.",
        {"series": numbers},
        lambda theme: _figure(series, theme),
    )


def _figure(series: Sequence[Series], theme: Theme) -> Figure:
    rows = ceil(len(series) / PANELS_PER_ROW)
    figure = new_figure(8.4, 1.65 * rows + 0.5, theme)
    grid = figure.subplots(rows, PANELS_PER_ROW, sharex=True, sharey=True, squeeze=False)

    for number, axes in enumerate(grid.flat):
        if number < len(series):
            _draw_panel(axes, series, number, theme)
        else:
            axes.set_visible(False)

    grid[0, 0].invert_xaxis()  # the panels share this axis: cost falls to the right in all
    figure.supxlabel(
        "prefill cost, % of the unpruned FLOPs     cheaper →", fontsize=9.5, color=theme.text
    )
    figure.supylabel("relative accuracy, %", fontsize=9.5, color=theme.text)
    return figure


def _draw_panel(axes: Axes, series: Sequence[Series], number: int, theme: Theme) -> None:
    style_axes(axes, theme)
    for other in series:
        costs, accuracies, _, _ = line_points(other)
        axes.plot(costs, accuracies, color=theme.rule, linewidth=0.8)

    own = series[number]
    style = line_style(own, number, theme)
    costs, accuracies, low, high = line_points(own)
    axes.fill_between(costs, low, high, color=style["color"], alpha=0.25, linewidth=0)
    axes.plot(costs, accuracies, **style)

    axes.axhline(100, color=theme.muted, linewidth=0.8)  # the unpruned model
    axes.set_title(own.method, fontsize=9, color=theme.text, loc="left")
