"""What single sections have besides their comparisons: layers, places, and a table of costs."""

from __future__ import annotations

from collections.abc import Sequence

from . import costs
from .cells import layer_list, table
from .claim import HIGH, HIGH_EXACT, LOW, LOW_EXACT
from .ladder import Ladder
from .places import percent_by_row
from .signal import TTV
from .verdict import MISSING

WHAT = {
    "nano": "16 layers, 144 visual tokens, trained on coloured shapes from nothing; the depth at "
    "which it reads a picture was steered ([bundled_model.md](bundled_model.md))",
    "smol": "SmolLM2-135M, a language model that learnt language first, with eyes: 30 layers, 576 "
    "visual tokens ([smol.md](smol.md))",
}


def amount(ladder: Ladder) -> str:
    """How much was measured on a model."""
    if not ladder.measured:
        return MISSING

    runs = [
        f"{source.questions:,} questions about {source.pictures:,} pictures"
        for source in ladder.sources
    ]
    return "; ".join(dict.fromkeys(runs))


def lines(claim: str, ladders: Sequence[Ladder]) -> list[str]:
    """Further lines of a section."""
    if claim == "signal":
        return _layers(ladders)
    if claim == "bias":
        return _places(ladders)
    if claim == "high":
        return costs.lines(ladders, costs.PRINTED_HIGH, HIGH_EXACT, HIGH)
    if claim == "low":
        return costs.lines(ladders, costs.PRINTED_LOW, LOW_EXACT, LOW)
    return []


def _layers(ladders: Sequence[Ladder]) -> list[str]:
    """Layers above and below chance, by third and by curve."""
    found: list[str] = []
    for ladder in ladders:
        signal = ladder.signal
        if signal is None:
            continue

        thirds = ", ".join(
            f"{name} {part[0]} to {part[-1]}" for name, part in signal.thirds.items()
        )
        rows = []
        for name, curve in signal.curves.items():
            # a sum over layers has no layers of its own
            if len(curve.value) > 1:
                best = max(range(len(curve.value)), key=curve.value.__getitem__)
                rows.append(
                    (
                        name,
                        layer_list(curve.layers(above=True)),
                        layer_list(curve.layers(above=False)),
                        f"{curve.value[best]:.2f} at {best + 1}",
                    )
                )

        counts = [
            f"{name} {sum(layer in signal.curves[TTV].layers(above=True) for layer in part)} above and "
            f"{sum(layer in signal.curves[TTV].layers(above=False) for layer in part)} below, of {len(part)}"
            for name, part in signal.thirds.items()
        ]
        found += [
            "",
            f"**{ladder.title}**, layers counted from 1 ({thirds}; accumulation layers "
            f"{layer_list(signal.observed)}). Layers in which TTV is above chance and below it: "
            f"{'; '.join(counts)}.",
            "",
            *table(("AUC of", "above 0.5 in layers", "below 0.5 in layers", "highest"), rows),
        ]

    if not found:
        return []
    return [
        *found,
        "",
        "*objects*: tokens of any object above the rest; *asked*: those of the object in the question. "
        "Magnitude and direction are the two terms of TTV, of one module each, against any object.",
        "",
        "![AUC of TTV and IGA in every layer](evidence/signal.png)",
    ]


def _places(ladders: Sequence[Ladder]) -> list[str]:
    """How far from even every method is, and the picture."""
    found: list[str] = []
    for ladder in ladders:
        if not ladder.places:
            continue

        rows = []
        for one in ladder.places:
            distance = f"{one.distance:.1f} [{one.low:.1f}, {one.high:.1f}]"
            objects = "-"
            if one.from_objects:
                value, low, high = one.from_objects
                objects = f"{value:.1f} [{low:.1f}, {high:.1f}]"
            kept = f"{one.kept:.1f}"
            rows.append((f"`{one.method}`", kept, distance, objects, _halves(one.rows)))

        # what an unbiased choice would follow
        if ladder.signal is not None:
            shares = percent_by_row(ladder.signal.objects)
            apart = sum(abs(share - 100 / len(shares)) for share in shares) / 2
            shown = f"{sum(ladder.signal.objects):.1f}"
            rows.append(("*tokens of objects*", shown, f"{apart:.1f}", "0", _halves(shares)))
        heads = (
            "method",
            "kept to the end",
            "from even, %",
            "from the objects, %",
            "upper / lower half, %",
        )
        found += ["", f"**{ladder.title}** at 41 % of the exact cost:", "", *table(heads, rows)]

    if not found:
        return []
    return [
        *found,
        "",
        "Percent of the kept tokens that would have to move to another row: for all rows to have as many "
        "(even), or as many as there are tokens of objects in them. The last line is the pictures' own: "
        "how many tokens show an object, and where. An unbiased choice of objects would follow it.",
        "",
        "![Where tokens are kept: rows and maps](evidence/places.png)",
    ]


def _halves(rows: Sequence[float]) -> str:
    """Percent in the upper and in the lower half; a middle row belongs to neither."""
    half = len(rows) // 2
    return f"{sum(rows[:half]):.0f} / {sum(rows[-half:]):.0f}"
