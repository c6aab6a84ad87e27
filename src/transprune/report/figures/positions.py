"""Where TTV and IGA keep tokens on average over many pictures: the seed paper's Figure 4, positional bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transprune.report.theme import Picture, Theme, bare, new_figure, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rates = Mapping[str, Mapping[int, NDArray[np.float32]]]


def draw_positions(
    rates: Rates, shape: tuple[int, int], questions: int, objects: NDArray[np.float32] | None
) -> Picture:
    """A map per criterion and boundary.

    Args:
        rates: criterion -> boundary -> how often each token is kept, [N].
        shape: rows and columns.
        questions: how many the averages are over.
        objects: how often each token shows an object, [N], or None: what an unbiased choice would follow.
    """
    halves = {
        name: {
            boundary: [float(half.mean()) for half in np.array_split(rate, 2)]
            for boundary, rate in stages.items()
        }
        for name, stages in rates.items()
    }
    said = "; ".join(
        f"{name} keeps {100 * top:.0f} % of the upper and {100 * low:.0f} % of the lower half at its last boundary"
        for name, stages in halves.items()
        for top, low in [list(stages.values())[-1]]
    )
    return render(
        "positions",
        "Where tokens stay on average",
        f"Share of {questions} questions in which a token survives, for each criterion alone at the High schedule "
        "(the paper's Figure 4: positional bias). Each column has one scale for both criteria; ↑ and ↓ are the means "
        "of the upper and the lower half. Objects lie anywhere alike, so an unbiased criterion gives an even map.",
        f"Heat maps of keep rates over the image grid: {said}.",
        {
            "questions": questions,
            "rows": shape[0],
            "columns": shape[1],
            "keep_rate": {
                name: {str(b): np.round(r, 4).tolist() for b, r in s.items()}
                for name, s in rates.items()
            },
            "halves": {name: {str(b): h for b, h in s.items()} for name, s in halves.items()},
            "objects": None if objects is None else np.round(objects, 4).tolist(),
        },
        lambda theme: _figure(rates, shape, objects, theme),
    )


def _figure(
    rates: Rates, shape: tuple[int, int], objects: NDArray[np.float32] | None, theme: Theme
) -> Figure:
    boundaries = list(next(iter(rates.values())))
    columns = len(boundaries) + (objects is not None)
    figure = new_figure(2.05 * columns + 0.6, 2.2 * len(rates) + 0.3, theme)
    grid = figure.subplots(len(rates), columns, squeeze=False)
    for column, boundary in enumerate(boundaries):
        both = [rates[name][boundary] for name in rates]
        low, high = min(r.min() for r in both), max(r.max() for r in both)
        for row, name in enumerate(rates):
            axes, rate = grid[row, column], rates[name][boundary]
            bare(axes, theme)
            shown = axes.imshow(
                rate.reshape(shape), cmap="cividis", vmin=low, vmax=high, interpolation="nearest"
            )
            top, bottom = (100 * half.mean() for half in np.array_split(rate, 2))
            axes.set_xlabel(f"↑ {top:.0f} %   ↓ {bottom:.0f} %", fontsize=9, color=theme.quiet)
            if row == 0:
                axes.set_title(
                    f"from layer {boundary} on: {100 * rate.mean():.0f} %",
                    fontsize=9.5,
                    color=theme.ink,
                )
            if column == 0:
                axes.set_ylabel(name, fontsize=11, color=theme.ink)
        bar = figure.colorbar(
            shown, ax=list(grid[:, column]), location="bottom", fraction=0.05, aspect=18, pad=0.02
        )
        bar.ax.tick_params(colors=theme.quiet, labelsize=8)
        bar.outline.set_edgecolor(theme.rule)
        bar.formatter = lambda share, at=None: f"{100 * share:.0f}%"  # type: ignore[assignment]
        bar.update_ticks()
    if objects is not None:
        _objects(grid[:, -1], objects, shape, theme)
    return figure


def _objects(
    column: NDArray[np.object_], objects: NDArray[np.float32], shape: tuple[int, int], theme: Theme
) -> None:
    """The last column: where the objects are."""
    axes = column[0]
    bare(axes, theme)
    axes.imshow(objects.reshape(shape), cmap="cividis", interpolation="nearest")
    axes.set_title("where objects are", fontsize=9.5, color=theme.ink)
    axes.set_xlabel(
        f"{100 * objects.min():.0f}-{100 * objects.max():.0f} %", fontsize=9, color=theme.quiet
    )
    for below in column[1:]:
        below.set_visible(False)
