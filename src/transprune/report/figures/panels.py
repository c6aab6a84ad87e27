"""Accuracy against cost in small multiples: one panel per method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from transprune.report.figures.lines import choose_lines, line_numbers, line_points, line_style
from transprune.report.picture import Picture, render
from transprune.report.results import Series
from transprune.report.theme import Theme, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE_COLUMNS = (5, 4, 3)
NARROW_COLUMNS = (2, 3)
SHORT_NAME = 14  # characters that fit above one of three panels on a phone
LONGEST = 20  # characters of a line above a panel


def draw_panels(series: Sequence[Series]) -> Picture:
    """One panel per method, with the lines of the overview faint behind it."""
    numbers = [line_numbers(one) for one in series]

    return render(
        "methods",
        "One panel per method",
        "The same values, one method per panel with its 95 % interval as a band; 100 is the "
        "unpruned model, and the faint lines are those of the figure above. Dashed: controls.",
        f"{len(series)} small line charts, one per method, with the values of the table of "
        "conditions.",
        {"series": numbers},
        lambda theme: _figure(series, theme),
    )


def best_columns(count: int, choices: Sequence[int]) -> int:
    """Panels in a row: no panel alone in the last row, few rows, few empty places."""

    def cost(columns: int) -> tuple[bool, int, int]:
        alone = count > columns and count % columns == 1
        return alone, ceil(count / columns), -count % columns

    return min(choices, key=cost)


def in_lines(name: str) -> str:
    """A recipe too long for the width of a panel, broken behind its marks."""
    lines = [""]
    for piece in re.split("(?<=[:,+])", name):
        if lines[-1] and len(lines[-1] + piece) > LONGEST:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _figure(series: Sequence[Series], theme: Theme) -> Figure:
    columns = _columns(series, theme)
    rows = ceil(len(series) / columns)
    figure = new_figure(theme.width, 1.5 * rows + 0.5, theme)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    hues = choose_lines(series)

    for number, axes in enumerate(grid.flat):
        if number < len(series):
            _draw_panel(axes, series, number, hues.get(number), theme)
            # the lowest panel of a column has the scale, also where its row is not full
            axes.tick_params(labelbottom=number + columns >= len(series))
        else:
            axes.set_visible(False)

    figure.supxlabel("prefill work left, % →", fontsize=10, color=theme.text)
    figure.supylabel("relative accuracy", fontsize=10, color=theme.text)
    return figure


def _columns(series: Sequence[Series], theme: Theme) -> int:
    if not theme.narrow:
        return best_columns(len(series), WIDE_COLUMNS)

    longest = max(len(one.method) for one in series)
    return best_columns(len(series), NARROW_COLUMNS if longest <= SHORT_NAME else (2,))


def _draw_panel(
    axes: Axes, series: Sequence[Series], number: int, hue: int | None, theme: Theme
) -> None:
    style_axes(axes, theme)
    axes.plot(*_background(series), color=theme.rule, linewidth=0.8)

    own = series[number]
    style = line_style(own, hue, theme)
    costs, accuracies, low, high = line_points(own)
    axes.fill_between(costs, low, high, color=style["color"], alpha=0.25, linewidth=0)
    axes.plot(costs, accuracies, **style)

    axes.axhline(100, color=theme.muted, linewidth=0.8)  # the unpruned model
    size = 8.5 if theme.narrow else 9.5
    axes.set_title(in_lines(own.method), fontsize=size, color=theme.text, loc="left")


def _background(series: Sequence[Series]) -> np.ndarray:
    """The lines of the overview as one, [2, points], with NaN between them.

    One path takes less space than many, and every panel has it.
    """
    pieces = []
    for number in choose_lines(series):
        pieces.append(line_points(series[number])[:2])
        pieces.append(np.full((2, 1), np.nan))
    return np.concatenate(pieces, axis=1)
