"""What single sections have besides their comparisons: layers, places, and tables of costs."""

from __future__ import annotations

from collections.abc import Sequence

from ..claim import HIGH, HIGH_EXACT, LOW, LOW_EXACT
from ..ladder import Ladder
from ..verdict import MISSING
from . import costs, layers, rows

WHAT = {
    "nano": "16 layers, 144 visual tokens, trained on coloured shapes from nothing; the depth at "
    "which it reads a picture was steered ([bundled_model.md](bundled_model.md))",
    "smol": "SmolLM2-135M, a language model that learnt language first, with a vision tower: 30 layers, 576 "
    "visual tokens ([smol.md](smol.md))",
}


def amount(ladder: Ladder) -> str:
    """How much was measured on a model."""
    if not ladder.measured:
        return MISSING

    # runs of as much are of the same scenes and questions, so one line says it
    runs: dict[tuple[int, int], str] = {}
    for source in ladder.sources:
        which = f" ({', '.join(source.tasks)})" if source.tasks else ""
        words = f"{source.questions:,} questions{which} about {source.pictures:,} pictures"
        runs.setdefault((source.questions, source.pictures), words)
    return "; ".join(runs.values())


def lines(claim: str, ladders: Sequence[Ladder]) -> list[str]:
    """Further lines of a section."""
    if claim == "signal":
        return layers.lines(ladders)
    if claim == "bias":
        return rows.lines(ladders)
    if claim == "high":
        return costs.lines(ladders, costs.PRINTED_HIGH, HIGH_EXACT, HIGH)
    if claim == "low":
        return costs.lines(ladders, costs.PRINTED_LOW, LOW_EXACT, LOW)
    return []
