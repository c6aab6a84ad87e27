"""Where tokens are kept: shares of the rows, and maps, as in Figure 4 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from transprune.report.theme import (
    LIGHT,
    MARKERS,
    WIDE,
    new_figure,
    style_axes,
    style_image_axes,
)

from ..ladder import Ladder
from ..places import Places, percent_by_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 4.4  # inches of a ladder
ROWS = ("transprune", "transprune-ttv", "transprune-iga", "fastv")  # as lines
MAPS = ("transprune-ttv", "transprune-iga", "transprune", "fastv")
NAMES = {
    "transprune-ttv": "TTV alone",
    "transprune-iga": "IGA alone",
    "transprune": "TransPrune",
    "fastv": "FastV",
}


def draw_rows(ladders: Sequence[Ladder]) -> Figure | None:
    """Lines and maps of each ladder; None if no places were measured."""
    measured = [ladder for ladder in ladders if ladder.places]
    if not measured:
        return None

    figure = new_figure(WIDE, HEIGHT * len(measured), LIGHT)
    grid = figure.add_gridspec(2 * len(measured), 4, width_ratios=(1.25, 1.25, 1, 1))
    for number, ladder in enumerate(measured):
        top = 2 * number
        known = {one.method: one for one in ladder.places}
        lines = figure.add_subplot(grid[top : top + 2, :2])
        _draw_lines(lines, ladder.title, known, ladder.objects)

        shown = [known[name] for name in MAPS if name in known]
        for place, one in enumerate(shown):
            row, column = divmod(place, 2)
            _draw_map(figure.add_subplot(grid[top + row, 2 + column]), one)
    return figure


def _draw_lines(axes: Axes, title: str, known: dict[str, Places], objects: Sequence[float]) -> None:
    """Percent of the kept tokens in each row of the picture."""
    style_axes(axes, LIGHT)
    side = next(iter(known.values())).side
    axes.axhline(100 / side, color=LIGHT.muted, linewidth=1)

    for number, name in enumerate(ROWS):
        if name not in known:
            continue
        one = known[name]
        axes.plot(
            range(1, side + 1),
            one.rows,
            color=LIGHT.hue(number),
            marker=MARKERS[number],
            markersize=4,
            label=f"{NAMES.get(name, name)}: {one.distance:.1f} %",
        )

    if objects:
        axes.plot(
            range(1, side + 1),
            percent_by_row(objects),
            color=LIGHT.muted,
            linestyle="--",
            label="tokens of objects",
        )
    axes.set_ylim(bottom=0)
    axes.set_title(f"{title}: finally kept tokens by row; in the legend % from even", fontsize=10)
    axes.set_xlabel("row of the picture, from the top", fontsize=9)
    axes.set_ylabel("% of the kept tokens", fontsize=9)
    # below the axes, where no line is
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=3,
        fontsize=8,
        frameon=False,
        labelcolor=LIGHT.text,
    )


def _draw_map(axes: Axes, one: Places) -> None:
    """How often each token stays, from never (dark) to its own maximum."""
    style_image_axes(axes, LIGHT)
    rate = np.reshape(one.rate, (one.side, one.side))
    axes.imshow(rate, cmap="cividis", vmin=0, interpolation="none")
    axes.set_title(NAMES.get(one.method, one.method), fontsize=9, color=LIGHT.text)
    axes.set_xlabel(f"0 to {100 * rate.max():.0f} %", fontsize=8, color=LIGHT.muted)
