"""Which entries of a layer's cache stay: all that are not visual, and of those what each head keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.algebra.select import select_top
from transprune.core.layout import Layout
from transprune.core.rows import upload
from transprune.errors import MethodError
from transprune.runtime.eviction.scored import Ranked, ScoredLayer
from transprune.runtime.pools import PoolGroup
from transprune.runtime.slots import Slots


@dataclass(frozen=True)
class KeptRows:
    """What stays of the rows of one layer. Shapes: B samples, Hkv heads, P rows.

    Attributes:
        index: long [B, Hkv, P], row numbers, ascending; samples with fewer are filled up on the left
            with rows that go.
        own: long [B, P], rows that stand for those of all heads.
        kept: rows that stay of each sample.
        visual: how many of them are visual.
    """

    index: Tensor
    own: Tensor
    kept: tuple[int, ...]
    visual: tuple[int, ...]


def kept_rows(scored: ScoredLayer, found: Iterator[NDArray[np.int64]]) -> KeptRows:
    """The rows that stay.

    Args:
        scored: the layer.
        found: for each of its groups that has a choice, the choice of every pool.

    Raises:
        MethodError: a choice that the method does not have.
    """
    layout = scored.layout
    text = [length - n for length, n in zip(layout.lengths, layout.visual_counts, strict=True)]
    visual = [0] * layout.batch

    # the first table is that of the rows that stand for all heads
    others = layout.valid & ~layout.visual
    stay = others[:, None].repeat(1, 1 + scored.heads, 1)  # [B, 1 + Hkv, L]
    for group, scores, count in _by_count(scored.ranked, found):
        for pool in group.pools:
            visual[pool.sample] += count
        _mark(stay, group, scores, count)

    # rows that go first, rows that stay last, each in order: the tail holds all that stay
    kept = tuple(n + m for n, m in zip(text, visual, strict=True))
    order = stay.to(torch.uint8).argsort(dim=-1, stable=True)
    index = order[..., layout.rows_total - max(kept) :]
    return KeptRows(index[:, 1:], index[:, 0], kept, tuple(visual))


def entries_of(scored: ScoredLayer, rows: KeptRows) -> tuple[Tensor, Slots]:
    """The entries of the cache that stay, long [B, Hkv, P], and their slots.

    Every head keeps other tokens, so a slot does not say whose key it holds. All text behind the
    picture may attend to every visual key, and the slots of the text are those of all heads, so
    masks of later tokens are right.
    """
    layout = scored.layout
    slots = layout.origin.expand(layout.batch, -1).gather(1, rows.own) + scored.history.length
    width = rows.own.shape[1]
    dense = min(rows.kept) == width
    if not dense:
        fillers = np.arange(width) < width - np.array(rows.kept)[:, None]
        slots = slots.masked_fill(upload(fillers, slots.device), -1)

    earlier = scored.history.slots
    if earlier is None:
        return rows.index, Slots(slots, dense)
    count = scored.earlier
    before = torch.arange(count, device=slots.device).expand(*rows.index.shape[:2], -1)
    entries = torch.cat([before, rows.index + count], dim=-1)
    return entries, Slots(torch.cat([earlier.slots, slots], dim=1), dense and earlier.dense)


def take_entries(stored: Tensor, entries: Tensor) -> Tensor:
    """Entries [B, Hkv, P] of keys or values [B, Hkv, n, d]. -> [B, Hkv, P, d]."""
    return stored.gather(2, entries[..., None].expand(-1, -1, -1, stored.shape[-1]))


def numbers_of(layout: Layout, rows: KeptRows, sample: int) -> Tensor:
    """Rows of one sample that stay, fillers left out. long [Hkv, n]."""
    return rows.index[sample, :, rows.index.shape[-1] - rows.kept[sample] :]


def _by_count(
    ranked: Iterable[Ranked], found: Iterator[NDArray[np.int64]]
) -> Iterator[tuple[PoolGroup, Tensor, int]]:
    """Groups whose heads all keep equally many, with their scores [G, Hkv, N] and that number."""
    for of_group in ranked:
        group, scores = of_group.group, of_group.ranking.scores
        choice = of_group.ranking.choice
        numbers = [0] * len(group.pools) if choice is None else next(found).tolist()
        counts = [_count(of_group, number) for number in numbers]
        if len(set(counts)) == 1:
            yield group, scores, counts[0]
            continue
        for place, (pool, count) in enumerate(zip(group.pools, counts, strict=True)):
            yield PoolGroup([pool]), scores[place : place + 1], count


def _count(of_group: Ranked, number: int) -> int:
    """The number of keys that choice `number` means."""
    counts = of_group.counts
    if not 0 <= number < len(counts):
        raise MethodError(
            f"the choice of how many keys stay is one of 0..{len(counts) - 1}; got {number}"
        )
    return max(1, min(counts[number], of_group.group.pools[0].count))


def _mark(stay: Tensor, group: PoolGroup, scores: Tensor, count: int) -> None:
    """Set the rows that stay of a group of pools in the tables [B, 1 + Hkv, L]."""
    chosen = select_top(scores, count)  # [G, Hkv, K]
    heads = torch.arange(1, stay.shape[1], device=stay.device)[:, None]
    rows = group.rows[:, None].expand(-1, chosen.shape[1], -1).gather(2, chosen)
    stay[group.sample_index[..., None], heads, rows] = True

    # not those of some head: its newest tokens are no sign that every head has them
    stay[group.sample_index, 0, group.rows[:, :count]] = True
