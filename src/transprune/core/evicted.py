"""Which visual keys stayed in the cache of a layer, as the trace tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class TraceEviction:
    """One decoder layer whose heads kept some of its visual keys.

    Attributes:
        layer: 0-based decoder layer.
        method: name of the method that chose.
        keep: per sample, the original numbers (0..N-1) of the visual tokens whose keys and values
            every key/value head keeps, ascending, equally many for all. long [Hkv, k].
        scores: with `record=("scores",)`: per sample, float32 [Hkv, n], of the visual tokens that
            ran in this layer, in order; else None.
    """

    layer: int
    method: str
    keep: tuple[Tensor, ...]
    scores: tuple[Tensor, ...] | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """Visual keys that each head keeps, per sample."""
        return tuple(keep.shape[1] for keep in self.keep)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping; the tokens of each head are too many numbers and left out."""
        return {"layer": self.layer, "method": self.method, "kept": list(self.counts)}


def runs_of_layers(
    evictions: Sequence[TraceEviction],
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Layers that follow each other and keep equally many: (keys per sample, layers) of each run."""
    runs: list[tuple[tuple[int, ...], list[int]]] = []
    for eviction in evictions:
        counts = eviction.counts
        if runs and runs[-1][0] == counts and runs[-1][1][-1] == eviction.layer - 1:
            runs[-1][1].append(eviction.layer)
        else:
            runs.append((counts, [eviction.layer]))

    return runs


def eviction_lines(evictions: Sequence[TraceEviction], visual: Sequence[int]) -> list[str]:
    """A line for people: how many keys stay in which layers.

    Args:
        evictions: in the order of the layers.
        visual: visual tokens of each sample.
    """
    if not evictions:
        return []

    parts = []
    for counts, layers in runs_of_layers(evictions):
        where = str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
        parts.append(f"{', '.join(map(str, counts))} in {where}")

    total = ", ".join(map(str, visual))
    return [f"visual keys that each head keeps, of {total}, by layer: {'; '.join(parts)}"]
