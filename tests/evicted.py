"""Masks in which every head lacks keys of its own: what a cache with evicted keys must compute, on the full cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Evicted:
    """Keys that are closed from some slot on.

    Attributes:
        layers: layer -> for each key/value head, the numbers of the visual tokens whose keys stay.
        behind: the first slot that lacks the others: the length of the prompt.
        tokens: numbers of the visual tokens that were chosen among.
    """

    layers: Mapping[int, Sequence[Sequence[int]]]
    behind: int
    tokens: Sequence[int]

    def close(
        self,
        mask: Tensor,
        index: int,
        layer: Any,
        visual: Tensor,
        rows: Tensor,
        columns: Tensor,
    ) -> Tensor:
        """The additive mask [1, 1, P, K] of a layer with the keys closed that a head lacks. -> [1, H, P, K].

        `visual`: slots of the visual tokens; `rows`, `columns`: slots of the rows and keys.
        """
        if index not in self.layers:
            return mask
        kept = self.layers[index]
        config = layer.self_attn.config
        heads = config.num_attention_heads
        assert len(kept) == config.num_key_value_heads

        closed = torch.zeros(1, heads, len(rows), len(columns), dtype=torch.bool)
        for head in range(heads):
            own = kept[head * len(kept) // heads]
            gone = visual[sorted(set(self.tokens) - set(own))]
            lacks = torch.isin(columns, gone)
            closed[0, head] = (rows >= self.behind)[:, None] & lacks
        full = mask.expand(-1, heads, -1, -1)
        return full.masked_fill(closed, torch.finfo(mask.dtype).min)


def evicted_of(trace: Any, row: int, length: int) -> list[Evicted]:
    """What one sample's trace says was evicted behind its prompt of `length` slots; the row of a batch."""
    layers = {eviction.layer: eviction.keep[row].tolist() for eviction in trace.evictions}
    if not layers:
        return []
    return [Evicted(layers, length, range(trace.visual_tokens[row]))]
