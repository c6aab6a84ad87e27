"""The ablations of the TransPrune paper: one dot with its interval per variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transprune.bench.results.summary import Row
from transprune.report.picture import Picture, render
from transprune.report.theme import Theme, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_ablations(groups: Mapping[str, Sequence[Row]], main: Row | None) -> Picture:
    """Relative accuracy of every variant, by group.

    Args:
        groups: name of the ablation -> rows of its variants.
        main: TransPrune with its own settings at the same budget, or None.
    """
    rows = [row for group in groups.values() for row in group]
    best = max(rows, key=_accuracy)
    worst = min(rows, key=_accuracy)

    return render(
        "ablations",
        "Ablations of TransPrune",
        "Relative accuracy (100 = unpruned) of each variant with its 95 % interval, all at one "
        "budget. The vertical line is TransPrune with its own settings.",
        f"Dot chart of {len(rows)} variants: from {variant_name(worst)} with "
        f"{_accuracy(worst):.1f} % to {variant_name(best)} with {_accuracy(best):.1f} %.",
        _numbers(groups),
        lambda theme: _figure(groups, main, theme),
    )


def variant_name(row: Row) -> str:
    """The part of `transprune/<variant>` behind the slash."""
    return row.condition.method.partition("/")[2] or row.condition.method


def _accuracy(row: Row) -> float:
    return row.relative.value


def _numbers(groups: Mapping[str, Sequence[Row]]) -> dict[str, list[dict[str, Any]]]:
    numbers: dict[str, list[dict[str, Any]]] = {}

    for group, rows in groups.items():
        numbers[group] = []
        for row in rows:
            entry = {
                "variant": variant_name(row),
                "relative": row.relative.value,
                "low": row.relative.low,
                "high": row.relative.high,
            }
            numbers[group].append(entry)

    return numbers


def _figure(groups: Mapping[str, Sequence[Row]], main: Row | None, theme: Theme) -> Figure:
    lines = sum(len(rows) + 1 for rows in groups.values())
    figure = new_figure(theme.width, 0.235 * lines + 0.8, theme)
    axes = figure.add_subplot()
    style_axes(axes, theme, grid=False)  # its grid lines are horizontal; here they are vertical
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=theme.rule, linewidth=0.6)

    # one line per group name and per variant, from the top down
    labels: list[str] = []
    for number, (group, rows) in enumerate(groups.items()):
        labels.append(group)
        for row in rows:
            _draw_dot(axes, row, height=len(labels), color=theme.hue(number))
            labels.append(f"{variant_name(row)}   ")  # indented under its group

    axes.set_yticks(range(len(labels)), labels)
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        heading = label in groups
        tick.set_color(theme.text if heading else theme.muted)
        tick.set_fontweight("bold" if heading else "normal")

    axes.set_ylim(lines, -1)  # inverted: the first line is at the top
    if main is not None:
        axes.axvline(main.relative.value, color=theme.text, linewidth=1)
    axes.set_xlabel("relative accuracy", fontsize=10)
    return figure


def _draw_dot(axes: Axes, row: Row, *, height: int, color: str) -> None:
    value = row.relative
    below = value.value - value.low
    above = value.high - value.value

    axes.errorbar(
        value.value,
        height,
        xerr=[[below], [above]],
        fmt="o",
        color=color,
        markersize=5,
        elinewidth=1.2,
    )
