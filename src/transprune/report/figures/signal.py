"""How well TTV and IGA tell objects from ground, and what is asked from the rest, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from transprune.report.theme import MARKERS, Picture, Theme, dress, new_figure, render, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[float]]
HUES = {"TTV": 0, "IGA": 6}


def draw_signal(curves: Curves, questions: int, boundaries: Sequence[int]) -> Picture:
    """AUC against layers.

    Args:
        curves: `"TTV, objects"` and the like -> AUC per layer, from layer 1 on.
        questions: how many each is the mean of.
        boundaries: where TransPrune prunes this model.
    """
    return render(
        "signal",
        "What the two criteria know, layer by layer",
        f"Area under the ROC curve, mean of {questions} questions: 1 ranks every token of an object above every other "
        "token, 0.5 is chance, below 0.5 the ranking is reversed. TTV of layer L is measured in that layer (the first "
        "is 1); IGA at L is read in front of the next layer. Upright lines: where TransPrune-High cuts.",
        describe(curves),
        {
            "questions": questions,
            "auc": {name: [round(v, 4) for v in values] for name, values in curves.items()},
        },
        lambda theme: _figure(curves, boundaries, theme),
    )


def describe(curves: Curves) -> str:
    """What the curves say, in a sentence each."""
    parts = []
    for name, values in curves.items():
        best = max(range(len(values)), key=lambda at: values[at])
        worst = min(range(len(values)), key=lambda at: values[at])
        parts.append(
            f"{name}: from {values[worst]:.2f} at layer {worst + 1} to {values[best]:.2f} at layer {best + 1}"
        )
    return "Line chart of AUC per layer. " + "; ".join(parts) + "."


def reversed_layers(values: Sequence[float], margin: float = 0.1) -> list[int]:
    """Layers, from 1 on, whose ranking is the wrong way round by more than `margin`."""
    return [layer for layer, value in enumerate(values, start=1) if value < 0.5 - margin]


def _figure(curves: Curves, boundaries: Sequence[int], theme: Theme) -> Figure:
    figure = new_figure(7.6, 4.2, theme)
    axes = figure.add_subplot()
    dress(axes, theme)
    last = max(len(values) for values in curves.values())
    for boundary in boundaries:
        axes.axvline(boundary, color=theme.rule, linewidth=1.2)
    axes.axhline(0.5, color=theme.quiet, linewidth=1)
    axes.text(0.55, 0.49, "chance", color=theme.quiet, fontsize=9, va="top")
    places = spread([values[-1] for values in curves.values()], 0.06, 0, 1)
    for number, ((name, values), place) in enumerate(zip(curves.items(), places, strict=True)):
        color = theme.hue(HUES[name.partition(",")[0]])
        line = "-" if name.endswith("asked") else "--"
        layers = range(1, len(values) + 1)
        axes.plot(
            layers,
            values,
            color=color,
            linestyle=line,
            marker=MARKERS[number],
            markersize=4.5,
            linewidth=1.8,
        )
        axes.annotate(
            name,
            (len(values), values[-1]),
            (last + 0.35, place),
            color=color,
            fontsize=10,
            va="center",
        )
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0.5, last + 0.2)
    axes.set_xticks(range(1, last + 1, 1 if last <= 20 else 2))
    axes.set_xlabel("decoder layer", fontsize=10)
    axes.set_ylabel("AUC", fontsize=10)
    return figure
