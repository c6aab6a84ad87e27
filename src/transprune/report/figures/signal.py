"""How well TTV and IGA rank object tokens above all others, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from transprune.report.figures.labels import spread_labels
from transprune.report.picture import Picture, render
from transprune.report.theme import MARKERS, Theme, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# `"TTV, objects"` and so on (the keys of figures.json) -> AUC per layer, from layer 1 on
Curves = Mapping[str, Sequence[float]]

CRITERION_HUES = {"TTV": 0, "IGA": 1}  # blue and red
CHANCE = 0.5


def draw_signal(curves: Curves, questions: int, boundaries: Sequence[int]) -> Picture:
    """AUC against layers.

    Args:
        curves: name of the curve -> AUC per layer, from layer 1 on.
        questions: how many questions each value is the mean of.
        boundaries: where TransPrune-High prunes this model.
    """
    rounded = {name: np.round(values, 4).tolist() for name, values in curves.items()}

    return render(
        "signal",
        "How well the two criteria rank object tokens, layer by layer",
        "How much a layer changes a token (TTV) and how much attention the question pays to it "
        "(IGA), each as a ranking of the tokens. Area under the ROC curve (AUC), mean of "
        f"{questions} questions: 1 ranks every token of an "
        "object above every other token, 0.5 is chance (the line), below 0.5 the ranking is reversed. TTV of "
        "layer L is measured in that layer (the first is 1); IGA at L is measured at the boundary "
        "behind layer L. Vertical lines: the boundaries where TransPrune-High prunes.",
        _describe(curves),
        {"questions": questions, "auc": rounded},
        lambda theme: _figure(curves, boundaries, theme),
    )


def curve_label(name: str) -> str:
    """The name of a curve for readers: `"TTV, asked"` is `TTV, target object`."""
    criterion, _, positives = name.partition(", ")
    if positives == "asked":
        return f"{criterion}, target object"
    return f"{criterion}, all objects"


def reversed_layers(values: Sequence[float], margin: float = 0.1) -> list[int]:
    """Layers, from 1 on, whose AUC is below chance by more than `margin`."""
    return [layer for layer, value in enumerate(values, start=1) if value < CHANCE - margin]


def _describe(curves: Curves) -> str:
    """The lowest and the highest value of every curve, in words."""
    parts = []

    for name, values in curves.items():
        layers = range(len(values))
        best = max(layers, key=values.__getitem__)
        worst = min(layers, key=values.__getitem__)
        parts.append(
            f"{curve_label(name)}: from {values[worst]:.2f} at layer {worst + 1} "
            f"to {values[best]:.2f} at layer {best + 1}"
        )

    return f"Line chart of AUC per layer. {'; '.join(parts)}."


def _figure(curves: Curves, boundaries: Sequence[int], theme: Theme) -> Figure:
    figure = new_figure(theme.width, 4.4, theme)
    axes = figure.add_subplot()
    style_axes(axes, theme)
    last = max(len(values) for values in curves.values())

    for boundary in boundaries:
        axes.axvline(boundary, color=theme.rule, linewidth=1.2)
    axes.axhline(CHANCE, color=theme.muted, linewidth=1)

    # names stand at the right ends of their lines, shifted where they would overlap
    ends = [values[-1] for values in curves.values()]
    heights = spread_labels(ends, 0.06, 0, 1)
    for number, (name, values) in enumerate(curves.items()):
        criterion = name.partition(",")[0]
        color = theme.hue(CRITERION_HUES[criterion])
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=color,
            linestyle="-" if name.endswith("asked") else "--",
            marker=MARKERS[number],
            markersize=4.5,
            linewidth=1.8,
        )
        # beside the axes: its marker, and the name
        axes.plot(
            [last + 0.6],
            [heights[number]],
            color=color,
            marker=MARKERS[number],
            markersize=4.5,
            clip_on=False,
        )
        axes.annotate(
            curve_label(name),
            (last + 0.6, heights[number]),
            (6, 0),
            textcoords="offset points",
            annotation_clip=False,
            color=theme.text,
            fontsize=8.5 if theme.narrow else 10,
            va="center",
        )

    axes.set_ylim(0, 1.02)
    axes.set_xlim(0.5, last + 0.2)
    # every layer, or every second of a deep model and on a phone
    every = 1 if last <= 20 and not theme.narrow else 2
    axes.set_xticks(range(1, last + 1, every))
    axes.set_xlabel("decoder layer", fontsize=10)
    axes.set_ylabel("AUC", fontsize=10)
    return figure
