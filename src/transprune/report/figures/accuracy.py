"""Accuracy against cost: all methods in one figure, and each by itself with its interval.

Cost falls to the right, where methods come apart, so that their names can stand at the ends of their lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transprune.bench.results.summary import TRANSPRUNE, Row
from transprune.report.results import Series
from transprune.report.theme import (
    LINES,
    MARKERS,
    Picture,
    Theme,
    dress,
    new_figure,
    render,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4  # small multiples per row


def draw_accuracy(series: Sequence[Series], floor: float | None) -> Picture:
    """The overview.

    Args:
        series: methods and controls.
        floor: relative Acc. with the pictures blanked, or None where it was not measured.
    """
    best = max(
        (s for s in series if not s.control),
        key=lambda s: s.rows[-1].relative.value,
        default=series[0],
    )
    last = best.rows[-1]
    return render(
        "accuracy",
        "Accuracy against cost",
        "Relative accuracy (100 = unpruned) against measured prefill FLOPs, all tokens and scoring included; bars are "
        "95 % intervals (bootstrap over images). Cost falls to the right. Dotted: controls. Names stand beside the "
        "cheapest point of each method.",
        f"Line chart of {len(series)} methods. At {100 * last.exact_share:.0f} % cost the best method, {best.method}, "
        f"has {last.relative.value:.1f} % of the unpruned accuracy. All values are in the table of conditions.",
        {"floor": floor, "series": [_numbers(one) for one in series]},
        lambda theme: _overview(series, floor, theme),
    )


def draw_each(series: Sequence[Series]) -> Picture:
    """Small multiples: one panel per method, the others faint behind it."""
    return render(
        "methods",
        "Each method by itself",
        "The same figures, one method per panel with its 95 % interval as a band; all other methods are the faint "
        "lines behind it.",
        f"{len(series)} small line charts, one per method, with the values of the table of conditions.",
        {"series": [_numbers(one) for one in series]},
        lambda theme: _multiples(series, theme),
    )


def _overview(series: Sequence[Series], floor: float | None, theme: Theme) -> Figure:
    figure = new_figure(8.4, max(4.6, 0.235 * len(series) + 1.2), theme)
    axes = figure.add_subplot()
    _frame(axes, series, floor, theme)
    left, edge = axes.get_xlim()
    ends = [100 * one.rows[-1].exact_share for one in series]
    early = [
        end > edge + 0.12 * (left - edge) for end in ends
    ]  # a method that cannot be that cheap ends in mid-figure
    places = iter(
        _places(
            axes,
            [one.rows[-1].relative.value for one, e in zip(series, early, strict=True) if not e],
        )
    )
    for number, one in enumerate(series):
        style = _style(one, number, theme)
        shift = 0.006 * (left - edge) * (number % 5 - 2)  # intervals at one cost stand side by side
        _line(axes, one, style, shift)
        point = (ends[number] - shift, one.rows[-1].relative.value)
        beside = None if early[number] else (edge - 0.03 * (left - edge), next(places))
        _name(axes, one.method, point, beside, style["color"])
    return figure


def _places(axes: Axes, wanted: list[float]) -> list[float]:
    """Heights of the names at the right edge."""
    low, high = axes.get_ylim()
    return spread(wanted, (high - low) / max(18, 1.02 * len(wanted)), low, high)


def _name(
    axes: Axes,
    name: str,
    point: tuple[float, float],
    beside: tuple[float, float] | None,
    color: str,
) -> None:
    """A method's name: beside the figure with a line to its last point, or right at that point."""
    weight = "bold" if name == TRANSPRUNE else "normal"
    if beside is None:
        axes.annotate(
            name,
            point,
            (5, 5),
            textcoords="offset points",
            color=color,
            fontsize=8.5,
            fontweight=weight,
            va="bottom",
        )
        return
    arrow = {
        "arrowstyle": "-",
        "color": color,
        "linewidth": 0.5,
        "shrinkA": 1,
        "shrinkB": 2,
        "relpos": (0, 0.5),
    }
    axes.annotate(
        name,
        point,
        beside,
        color=color,
        va="center",
        fontsize=9,
        fontweight=weight,
        annotation_clip=False,
        arrowprops=arrow,
    )


def _frame(axes: Axes, series: Sequence[Series], floor: float | None, theme: Theme) -> None:
    """Axes, the unpruned line, and the floor where it lies in sight."""
    dress(axes, theme)
    rows = [row for one in series for row in one.rows]
    bottom = min(row.relative.low for row in rows)
    dearest, cheapest = (100 * pick(row.exact_share for row in rows) for pick in (max, min))
    left = dearest + 2 + 0.04 * (dearest - cheapest)
    top = max(101.0, max(row.relative.high for row in rows))
    if floor is not None:
        bottom = min(bottom, floor)
        axes.axhline(floor, color=theme.quiet, linewidth=1, linestyle=":")
        axes.text(
            left,
            floor,
            " picture blanked (language only)",
            color=theme.quiet,
            fontsize=9,
            va="bottom",
        )
    pad = 0.04 * (top - bottom)
    axes.set_ylim(bottom - pad, top + pad)
    axes.axhline(100, color=theme.ink, linewidth=1)
    axes.text(left, 100, " unpruned", color=theme.ink, fontsize=9, va="bottom")
    axes.set_xlim(left, cheapest - 2)
    axes.set_xlabel("prefill cost, % of the unpruned FLOPs (exact)     cheaper →", fontsize=10)
    axes.set_ylabel("relative accuracy, % of unpruned", fontsize=10)


def _line(axes: Axes, one: Series, style: dict[str, Any], shift: float) -> None:
    x = [100 * row.exact_share - shift for row in one.rows]
    y = [row.relative.value for row in one.rows]
    spans = [
        [row.relative.value - row.relative.low for row in one.rows],
        [_up(row) for row in one.rows],
    ]
    axes.errorbar(x, y, yerr=spans, fmt="none", ecolor=style["color"], elinewidth=0.8, alpha=0.55)
    axes.plot(x, y, **style)


def _style(one: Series, number: int, theme: Theme) -> dict[str, Any]:
    main = one.method == TRANSPRUNE
    return {
        "color": theme.ink if one.control else theme.hue(number),
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": ":" if one.control else LINES[number // 7 % len(LINES)],
        "linewidth": 2.4 if main else 1.2,
        "markersize": 7 if main else 4.5,
        "markeredgecolor": theme.paper,
        "markeredgewidth": 0.6,
    }


def _multiples(series: Sequence[Series], theme: Theme) -> Figure:
    down = -(-len(series) // COLUMNS)
    figure = new_figure(8.4, 1.65 * down + 0.5, theme)
    grid = figure.subplots(down, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(series):
            axes.set_visible(False)
            continue
        dress(axes, theme)
        for other in series:
            axes.plot(*_points(other), color=theme.rule, linewidth=0.8)
        one = series[number]
        style = _style(one, number, theme)
        x, y = _points(one)
        axes.fill_between(
            x,
            [row.relative.low for row in one.rows],
            [row.relative.high for row in one.rows],
            color=style["color"],
            alpha=0.25,
            linewidth=0,
        )
        axes.plot(x, y, **style)
        axes.axhline(100, color=theme.quiet, linewidth=0.8)
        axes.set_title(one.method, fontsize=9, color=theme.ink, loc="left")
    grid[0, 0].invert_xaxis()
    figure.supxlabel(
        "prefill cost, % of the unpruned FLOPs     cheaper →", fontsize=9.5, color=theme.ink
    )
    figure.supylabel("relative accuracy, %", fontsize=9.5, color=theme.ink)
    return figure


def _points(one: Series) -> tuple[list[float], list[float]]:
    return [100 * row.exact_share for row in one.rows], [row.relative.value for row in one.rows]


def _up(row: Row) -> float:
    return row.relative.high - row.relative.value


def _numbers(one: Series) -> dict[str, Any]:
    return {
        "method": one.method,
        "group": one.group,
        "points": [
            {
                "condition": row.condition.name,
                "budget": row.condition.budget,
                "exact_share": row.exact_share,
                "paper_share": row.paper_share,
                "relative": row.relative.value,
                "low": row.relative.low,
                "high": row.relative.high,
                "n": row.n,
            }
            for row in one.rows
        ],
    }
