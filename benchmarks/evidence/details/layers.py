"""Layers whose AUC is above chance, and below it: by third, and by what is ranked."""

from __future__ import annotations

from collections.abc import Sequence

from ..cells import layer_list, paragraph, table
from ..ladder import Ladder
from ..signal import TTV, Curve, Signal

LEGEND = (
    "*objects*: tokens of any object above the rest; *asked*: those of the object in the question. "
    "Magnitude and direction are the two terms of TTV, of one module each, against any object."
)
HEADS = ("AUC of", "above 0.5 in layers", "below 0.5 in layers", "highest")


def lines(ladders: Sequence[Ladder]) -> list[str]:
    """The layers of each ladder, and the picture; nothing if no layer was measured."""
    found: list[str] = []
    for ladder in ladders:
        if ladder.signal is not None:
            found += _ladder(ladder.title, ladder.signal)

    if not found:
        return []
    picture = "![AUC of TTV and IGA in every layer](evidence/signal.png)"
    return [*found, "", *paragraph(LEGEND), "", picture]


def _ladder(title: str, signal: Signal) -> list[str]:
    thirds = []
    counts = []
    ttv = signal.curves[TTV]
    for name, part in signal.thirds.items():
        thirds.append(f"{name} {part[0]} to {part[-1]}")
        above = len({*part} & {*ttv.layers(above=True)})
        below = len({*part} & {*ttv.layers(above=False)})
        counts.append(f"{name} {above} above and {below} below, of {len(part)}")

    text = (
        f"**{title}**, layers counted from 1 ({', '.join(thirds)}; accumulation layers "
        f"{layer_list(signal.observed)}). Layers in which TTV is above chance and below it: "
        f"{'; '.join(counts)}."
    )
    # a sum over layers has no layers of its own
    curves = [(name, curve) for name, curve in signal.curves.items() if len(curve.value) > 1]
    rows = [_row(name, curve) for name, curve in curves]
    return ["", *paragraph(text), "", *table(HEADS, rows)]


def _row(name: str, curve: Curve) -> tuple[str, ...]:
    """One curve of the table."""
    best = max(range(len(curve.value)), key=curve.value.__getitem__)
    return (
        name,
        layer_list(curve.layers(above=True)),
        layer_list(curve.layers(above=False)),
        f"{curve.value[best]:.2f} at {best + 1}",
    )
