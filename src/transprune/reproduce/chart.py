"""Accuracy against cost, published and ours, as one chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transprune.report.picture import Picture, render
from transprune.report.theme import Theme, new_figure, style_axes
from transprune.reproduce.exhibits import NONE
from transprune.reproduce.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Dot:
    """One row of the chart; `ours` with its interval is None where nothing was answered."""

    name: str
    published: float | None
    ours: tuple[float, float, float] | None


def draw_chart(result: Result) -> Picture | None:
    """Published and our `Acc.` of each row, or of the first column where there is none."""
    dots, title = _dots(result)
    if not dots:
        return None

    what = f"{title} of each row: a ring is published, a dot with its 95 % interval is ours."
    if not result.comparable:
        what += " The two are not of the same model and questions."

    return render(
        "chart",
        f"{title}, published and ours",
        what,
        f"Chart of {title} with {len(dots)} rows; the figures are in the table.",
        _numbers(dots),
        lambda theme: _figure(dots, title, theme),
    )


def _dots(result: Result) -> tuple[list[_Dot], str]:
    """The rows that have a figure, and what it is."""
    has_acc = any(row.row.acc != NONE for row in result.rows)
    if not has_acc and not result.exhibit.columns:
        return [], ""

    dots = []
    for row in result.rows:
        value = row.acc if has_acc else row.cells[0]
        ours = None
        if value.ours is not None and value.low is not None and value.high is not None:
            ours = (value.ours, value.low, value.high)
        # where ours is over some columns only, the published figure is of the same
        published = float(value.partner) if _is_number(value.partner) else None
        if ours is not None or published is not None:
            dots.append(_Dot(row.row.name, published, ours))

    return dots, "Acc." if has_acc else result.exhibit.columns[0]


def _is_number(text: str) -> bool:
    """Whether a cell holds one figure; a judge's cells hold two."""
    return text.replace(".", "", 1).isdigit()


def _numbers(dots: list[_Dot]) -> dict[str, list[dict[str, Any]]]:
    rows = []
    for dot in dots:
        rows.append({"row": dot.name, "published": dot.published, "ours": dot.ours})
    return {"rows": rows}


def _figure(dots: list[_Dot], title: str, theme: Theme) -> Figure:
    figure = new_figure(theme.width, 0.3 * len(dots) + 0.9, theme)
    axes = figure.add_subplot()
    style_axes(axes, theme, grid=False)
    axes.grid(axis="x", color=theme.rule, linewidth=0.6)
    axes.tick_params(axis="y", length=0)

    for height, dot in enumerate(dots):
        if dot.published is not None:
            axes.plot(dot.published, height, "o", color=theme.text, fillstyle="none", markersize=7)
        if dot.ours is not None:
            value, low, high = dot.ours
            axes.plot([low, high], [height, height], color=theme.hue(0), linewidth=1.4)
            axes.plot(value, height, "o", color=theme.hue(0), markersize=5)

    axes.set_yticks(range(len(dots)), [dot.name for dot in dots])
    # rows from the top, as in the table
    axes.set_ylim(len(dots) - 0.5, -0.5)
    axes.set_xlabel(title, fontsize=10)
    return figure
