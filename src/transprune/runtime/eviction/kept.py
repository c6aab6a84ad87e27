"""Which rows of a layer stay in its cache: all that are not visual, and of those what each head keeps.

Layers that keep equally many of the same rows are taken together, as if they were one with more
heads: nearly always there are a few such sets, however deep the model is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.algebra.select import select_top
from transprune.core.layout import Layout
from transprune.errors import MethodError
from transprune.runtime.eviction.scored import Ranked, ScoredLayer
from transprune.runtime.pools import PoolGroup

Counts = tuple[tuple[int, ...], ...]  # keys that stay of each pool of each group


@dataclass(frozen=True)
class KeptRows:
    """What stays of the rows of one or several layers. Shapes: B samples, H heads of all, P rows.

    Attributes:
        index: long [B, H, P], row numbers, ascending; samples with fewer are filled up on the left
            with rows that go.
        own: long [B, P], rows that stand for those of all heads: all that are not visual, and the
            first visual ones.
        kept: rows that stay of each sample.
        visual: how many of them are visual.
    """

    index: Tensor
    own: Tensor
    kept: tuple[int, ...]
    visual: tuple[int, ...]

    def of_heads(self, heads: slice) -> KeptRows:
        """The same for some of the heads."""
        return KeptRows(self.index[:, heads], self.own, self.kept, self.visual)


def counts_of(scored: ScoredLayer, found: Iterator[NDArray[np.int64]]) -> Counts:
    """How many keys stay of each pool.

    Args:
        scored: the layer.
        found: for each of its groups that has a choice, the choice of every pool.

    Raises:
        MethodError: a choice that the method does not have.
    """
    counts = []
    for ranked in scored.ranked:
        choice = ranked.ranking.choice
        numbers = [0] * len(ranked.group.pools) if choice is None else next(found).tolist()
        counts.append(tuple(_count(ranked, number) for number in numbers))
    return tuple(counts)


def _count(ranked: Ranked, number: int) -> int:
    """The number of keys that choice `number` means."""
    counts = ranked.counts
    if not 0 <= number < len(counts):
        raise MethodError(
            f"the choice of how many keys stay is one of 0..{len(counts) - 1}; got {number}"
        )
    return max(1, min(counts[number], ranked.group.pools[0].count))


def alike(
    scored: Sequence[ScoredLayer], counts: Sequence[Counts]
) -> Iterator[tuple[list[ScoredLayer], Counts]]:
    """Layers in which the same rows ran, and of which equally many keys stay."""
    sets: dict[tuple[int, Counts], list[ScoredLayer]] = defaultdict(list)
    for layer, of_layer in zip(scored, counts, strict=True):
        sets[id(layer.layout), of_layer].append(layer)
    for (_, of_layers), layers in sets.items():
        yield layers, of_layers


def kept_rows(layers: Sequence[ScoredLayer], counts: Counts) -> KeptRows:
    """The rows of such layers that stay; their heads follow each other."""
    layout = layers[0].layout
    visual = [0] * layout.batch
    chosen: list[tuple[PoolGroup, Tensor]] = []
    for place, of_group in enumerate(counts):
        ranked = [layer.ranked[place] for layer in layers]
        group = ranked[0].group
        # a model may be split over devices, and the layout is on one of them
        of_heads = [one.ranking.scores.to(layout.origin.device) for one in ranked]
        scores = torch.cat(of_heads, dim=1)  # [G, H, N]
        for pool, count in zip(group.pools, of_group, strict=True):
            visual[pool.sample] += count
        chosen += _chosen(group, scores, of_group)

    text = [length - n for length, n in zip(layout.lengths, layout.visual_counts, strict=True)]
    kept = tuple(n + m for n, m in zip(text, visual, strict=True))
    block = chosen[0][0].together if len(chosen) == 1 and layout.dense else None
    if block is not None:
        index, own = _around(layout, block, chosen[0][1])
    else:
        index, own = _marked(layout, chosen, max(kept))

    return KeptRows(index, own, kept, tuple(visual))


def _chosen(
    group: PoolGroup, scores: Tensor, counts: Sequence[int]
) -> list[tuple[PoolGroup, Tensor]]:
    """Groups whose heads keep equally many, with the places [G, H, K] of what they keep."""
    if len(set(counts)) == 1:
        return [(group, select_top(scores, counts[0]))]
    found = []
    for place, (pool, count) in enumerate(zip(group.pools, counts, strict=True)):
        found.append((PoolGroup([pool]), select_top(scores[place : place + 1], count)))
    return found


def _around(layout: Layout, block: slice, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Tables for the usual case: the visual rows are the same block in every sample."""
    batch, heads, count = chosen.shape
    every = torch.arange(layout.rows_total, device=chosen.device)
    before, behind = every[: block.start], every[block.stop :]

    parts = [part.expand(batch, heads, -1) for part in (before, behind)]
    index = torch.cat([parts[0], chosen + block.start, parts[1]], dim=-1)
    own = torch.cat([before, every[block.start : block.start + count], behind])
    return index, own.expand(batch, -1)


def _marked(
    layout: Layout, chosen: Sequence[tuple[PoolGroup, Tensor]], width: int
) -> tuple[Tensor, Tensor]:
    """Tables for any batch."""
    heads = chosen[0][1].shape[1]
    # the first table is that of the rows that stand for all heads
    others = layout.valid & ~layout.visual
    stay = others[:, None].repeat(1, 1 + heads, 1)  # [B, 1 + H, L]
    numbers = torch.arange(1, 1 + heads, device=stay.device)[:, None]
    for group, places in chosen:
        rows = group.rows[:, None].expand(-1, heads, -1).gather(2, places)
        stay[group.sample_index[..., None], numbers, rows] = True
        # not those of some head: its newest tokens are no sign that every head has them
        stay[group.sample_index, 0, group.rows[:, : places.shape[2]]] = True

    # rows that go first, rows that stay last, each in order: the tail holds all that stay
    order = stay.to(torch.uint8).argsort(dim=-1, stable=True)
    index = order[..., layout.rows_total - width :]
    return index[:, 1:], index[:, 0]
