"""Every comparison of accuracies: the paper's difference, and each ladder's with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transprune.report.theme import LIGHT, WIDE, new_figure, style_axes

from ..claim import Claim, Comparison
from ..claims import CLAIMS
from ..ladder import Ladder
from ..published import difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.24  # inches of a comparison
PAPER_HUE = 1
LADDER_HUES = {"nano": 0, "smol": 2}
MARKERS = {"nano": "o", "smol": "s"}
APART = 0.38  # of a line, between two ladders
LINEAR = 5  # points around zero that the axis shows linearly
TICKS = (-50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50)


def draw_differences(ladders: Sequence[Ladder]) -> Figure | None:
    """One line per comparison; None if nothing was measured."""
    measured = [ladder for ladder in ladders if ladder.measured]
    if not measured:
        return None

    shown = [claim for claim in CLAIMS if claim.comparisons[0].unit == "points"]
    count = sum(1 + len(claim.comparisons) for claim in shown)
    figure = new_figure(WIDE, 1.1 + LINE * count, LIGHT)
    axes = figure.add_subplot()
    style_axes(axes, LIGHT, grid=False)

    labels: list[str] = []
    for claim in shown:
        labels.append(claim.title)
        for comparison in claim.comparisons:
            _draw_line(axes, len(labels), comparison, measured)
            labels.append(comparison.label)
    _finish(axes, labels, shown, measured)
    return figure


def _draw_line(axes: Axes, place: int, comparison: Comparison, ladders: Sequence[Ladder]) -> None:
    """The paper's differences as diamonds, the ladders' as dots with intervals."""
    for printed in comparison.printed:
        axes.plot(
            [difference(printed).value],
            [place],
            "D",
            markersize=6,
            markerfacecolor="none",
            markeredgecolor=LIGHT.hue(PAPER_HUE),
            zorder=3,
        )

    for number, ladder in enumerate(ladders):
        found = ladder.differences.get(comparison.key)
        if found is None:
            continue
        height = place + APART * (number - (len(ladders) - 1) / 2)
        color = LIGHT.hue(LADDER_HUES[ladder.name])
        axes.plot([found.low, found.high], [height, height], color=color, linewidth=1.8)
        axes.plot([found.value], [height], MARKERS[ladder.name], color=color, markersize=5)


def _finish(
    axes: Axes, labels: Sequence[str], claims: Sequence[Claim], ladders: Sequence[Ladder]
) -> None:
    """Axes, names and the legend."""
    axes.set_yticks(range(len(labels)), labels)
    titles = {claim.title for claim in claims}
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_color(LIGHT.text)
        tick.set_fontweight("bold" if label in titles else "normal")
        tick.set_fontsize(9)
    axes.tick_params(axis="y", length=0)

    axes.set_ylim(len(labels) - 0.4, -0.6)  # from the top down
    axes.axvline(0, color=LIGHT.muted, linewidth=1)
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_xticks(
        TICKS, [f"{tick:+d}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in TICKS]
    )
    axes.grid(axis="x", color=LIGHT.rule, linewidth=0.5)
    axes.set_xlabel("points of Acc. for the claim", fontsize=10)
    _legend(axes, ladders)


def _legend(axes: Axes, ladders: Sequence[Ladder]) -> None:
    axes.plot(
        [], [], "D", markerfacecolor="none", markeredgecolor=LIGHT.hue(PAPER_HUE), label="the paper"
    )
    for ladder in ladders:
        color = LIGHT.hue(LADDER_HUES[ladder.name])
        axes.plot([], [], marker=MARKERS[ladder.name], color=color, label=ladder.title)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=1 + len(ladders),
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT.text,
    )
