"""The seed paper's ablations: a dot with its interval per variant, TransPrune as it is as the line behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from transprune.bench.results.summary import Row
from transprune.report.theme import Picture, Theme, dress, new_figure, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_ablations(groups: Mapping[str, Sequence[Row]], main: Row | None) -> Picture:
    """Variants by group.

    Args:
        groups: ablation -> its rows.
        main: TransPrune as it is, at the same budget, or None.
    """
    rows = [row for group in groups.values() for row in group]
    best, worst = (pick(rows, key=lambda row: row.relative.value) for pick in (max, min))
    return render(
        "ablations",
        "Ablations of TransPrune",
        "Relative accuracy (100 = unpruned) of each variant with its 95 % interval, all at one budget. The line is "
        "TransPrune as it is.",
        f"Dot chart of {len(rows)} variants: from {_name(worst)} with {worst.relative.value:.1f} % to {_name(best)} "
        f"with {best.relative.value:.1f} %.",
        {
            group: [
                {
                    "variant": _name(r),
                    "relative": r.relative.value,
                    "low": r.relative.low,
                    "high": r.relative.high,
                }
                for r in some
            ]
            for group, some in groups.items()
        },
        lambda theme: _figure(groups, main, theme),
    )


def _figure(groups: Mapping[str, Sequence[Row]], main: Row | None, theme: Theme) -> Figure:
    total = sum(len(rows) + 1 for rows in groups.values())
    figure = new_figure(7.4, 0.235 * total + 0.8, theme)
    axes = figure.add_subplot()
    dress(axes, theme, grid=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=theme.rule, linewidth=0.6)
    ticks, labels, place = [], [], 0
    for number, (group, rows) in enumerate(groups.items()):
        ticks.append(place)
        labels.append(group)
        for row in rows:
            place += 1
            value = row.relative
            span = [[value.value - value.low], [value.high - value.value]]
            axes.errorbar(
                value.value,
                place,
                xerr=span,
                fmt="o",
                color=theme.hue(number),
                markersize=5,
                elinewidth=1.2,
            )
            ticks.append(place)
            labels.append(f"{_name(row)}   ")
        place += 1
    axes.set_yticks(ticks, labels)
    for label, text in zip(axes.get_yticklabels(), labels, strict=True):
        label.set_color(theme.ink if text in groups else theme.quiet)
        label.set_fontweight("bold" if text in groups else "normal")
    axes.set_ylim(place, -1)
    if main is not None:
        axes.axvline(main.relative.value, color=theme.ink, linewidth=1)
    axes.set_xlabel("relative accuracy, % of unpruned", fontsize=10)
    return figure


def _name(row: Row) -> str:
    return row.condition.method.partition("/")[2] or row.condition.method
