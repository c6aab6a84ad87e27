"""AUC of every layer with its interval: TTV and IGA, and the four terms of TTV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transprune.report.theme import LIGHT, MARKERS, WIDE, new_figure, style_axes

from ..ladder import Ladder
from ..signal import CHANCE, TTV, Signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 4.0  # inches of a row of panels

# panels: title, curves with their hues
PANELS = (
    ("the two criteria", ((TTV, 0), ("IGA, objects", 4), ("IGA, asked", 1))),
    (
        "the terms of TTV, against objects",
        (
            ("attention magnitude", 2),
            ("attention direction", 3),
            ("FFN magnitude", 4),
            ("FFN direction", 5),
        ),
    ),
)


def draw_layers(ladders: Sequence[Ladder]) -> Figure | None:
    """A row of panels per ladder; None if no layer was measured."""
    measured = [ladder for ladder in ladders if ladder.signal is not None]
    if not measured:
        return None

    figure = new_figure(WIDE, HEIGHT * len(measured), LIGHT)
    grid = figure.subplots(len(measured), len(PANELS), squeeze=False)
    for row, ladder in zip(grid, measured, strict=True):
        assert ladder.signal is not None
        for axes, (title, curves) in zip(row, PANELS, strict=True):
            axes.set_title(f"{ladder.title}: {title}", fontsize=10)
            style_axes(axes, LIGHT)
            _draw_panel(axes, ladder.signal, curves)
    return figure


def _draw_panel(axes: Axes, signal: Signal, curves: Sequence[tuple[str, int]]) -> None:
    # the middle third, and the layers that TransPrune accumulates
    middle = signal.thirds["middle"]
    axes.axvspan(middle[0] - 0.5, middle[-1] + 0.5, color=LIGHT.rule, alpha=0.45, linewidth=0)
    axes.text(middle[0] - 0.4, 0.015, "middle third", fontsize=8, color=LIGHT.muted)
    axes.axhline(CHANCE, color=LIGHT.muted, linewidth=1)
    axes.plot(
        [signal.observed[0] - 0.4, signal.observed[-1] + 0.4],
        [0.985, 0.985],
        color=LIGHT.text,
        linewidth=3,
    )

    for number, (name, hue) in enumerate(curves):
        curve = signal.curves[name]
        layers = range(1, len(curve.value) + 1)
        color = LIGHT.hue(hue)
        axes.fill_between(layers, curve.low, curve.high, color=color, alpha=0.25, linewidth=0)
        axes.plot(
            layers, curve.value, color=color, marker=MARKERS[number], markersize=4, label=name
        )

    axes.set_ylim(0, 1)
    every = 1 if signal.layers <= 20 else 2
    axes.set_xticks(range(1, signal.layers + 1, every))
    axes.set_xlabel("decoder layer; the bar: accumulated", fontsize=9)
    axes.set_ylabel("AUC", fontsize=9)
    # below the axes, where no curve is
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=len(curves) if len(curves) < 4 else 2,
        fontsize=8,
        frameon=False,
        labelcolor=LIGHT.text,
    )
