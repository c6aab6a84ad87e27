"""Pools of visual tokens, and groups of them that are scored in one call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.rows import Rows, count_rows, number, pick, upload

Pool = Literal["sample", "image", "frame"]


@dataclass(frozen=True)
class PoolRows:
    """The visual rows of one pool: of one sample, or of one image of it.

    Attributes:
        layout: rows of the batch at this depth.
        sample: number of the sample.
        image: number of the image within the sample; -1 where all images form one pool.
        rows: the pool's visual tokens.
        hidden: [B, L, D], what enters the layer behind the boundary.
    """

    layout: Layout
    sample: int
    image: int
    rows: Rows
    hidden: Tensor

    @property
    def count(self) -> int:
        """Tokens of the pool, N."""
        return count_rows(self.rows)

    @property
    def span(self) -> tuple[int, int] | None:
        """Number of its first token in the unpruned sample, and how many it had there.

        None for an image between whose tokens another one stands.
        """
        prompt = self.layout.prompt
        if self.image < 0:
            return 0, prompt.visual_counts[self.sample]
        if not prompt.images_in_order:
            return None
        counts = prompt.image_counts[self.sample]
        return sum(counts[: self.image]), counts[self.image]

    @property
    def states(self) -> Tensor:
        """The rows of the pool. [N, D]."""
        return self.hidden[self.sample, self.rows]


K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class PoolGroup:
    """Pools of equal size. Shapes: G pools, N tokens each.

    Attributes:
        pools: at least one; all of one layout.
    """

    pools: Sequence[PoolRows]

    @property
    def layout(self) -> Layout:
        """Rows of the batch at this depth."""
        return self.pools[0].layout

    @cached_property
    def samples(self) -> tuple[int, ...]:
        """The sample of each pool."""
        return tuple(pool.sample for pool in self.pools)

    @cached_property
    def whole(self) -> bool:
        """The pools are those of all samples, in order."""
        return self.samples == tuple(range(self.layout.batch))

    @cached_property
    def together(self) -> slice | None:
        """The rows, where they are the same slice in every sample of the batch; else None."""
        first = self.pools[0].rows
        if not self.whole or not isinstance(first, slice):
            return None
        same = all(isinstance(p.rows, slice) and p.rows == first for p in self.pools)
        return first if same else None

    @cached_property
    def sample_index(self) -> Tensor:
        """`samples` on the device. long [G, 1]."""
        return upload(np.array(self.samples)[:, None], self._device)

    @cached_property
    def rows(self) -> Tensor:
        """Row numbers of all tokens. long [G, N]."""
        if all(isinstance(pool.rows, slice) for pool in self.pools):
            first = [pool.rows.start for pool in self.pools]  # type: ignore[union-attr]
            offsets = np.arange(self.pools[0].count)
            return upload(np.array(first)[:, None] + offsets, self._device)
        return torch.stack([number(pool.rows, self._device) for pool in self.pools])

    def of(self, table: Tensor) -> Tensor:
        """The pools' rows of a table [B, L, ...]. -> [G, N, ...]."""
        if self.together is not None:
            return table[:, self.together]
        if len(self.pools) == 1:
            sample = self.samples[0]
            return table[sample : sample + 1, self.pools[0].rows]
        return table[self.sample_index, self.rows]

    def columns(self, values: Tensor) -> Tensor:
        """The pools' entries of the last dimension, which are rows. [G, ..., L] -> [G, ..., N]."""
        if self.together is not None:
            return values[..., self.together]
        if len(self.pools) == 1:
            return values[..., self.pools[0].rows]
        index = self.rows.view(len(self.pools), *[1] * (values.ndim - 2), -1)
        return values.gather(-1, index.expand(*values.shape[:-1], -1))

    @property
    def selector(self) -> slice | Tensor:
        """What takes the samples of the pools from a table [B, ...]. -> [G, ...]."""
        if self.whole:
            return slice(None)
        if len(self.pools) == 1:
            return slice(self.samples[0], self.samples[0] + 1)
        return self.sample_index[:, 0]

    def pick(self, keep: Tensor) -> Tensor:
        """Row numbers of the tokens `keep` [G, K]. -> long [G, K]."""
        if self.together is not None:
            return pick(self.together, keep)
        if len(self.pools) == 1:
            return pick(self.pools[0].rows, keep)
        return self.rows.gather(1, keep)

    def mark(self, table: Tensor, rows: Tensor, value: bool) -> None:
        """Set the entries `rows` [G, K] of a table [B, L] of flags."""
        if self.whole:
            table.scatter_(1, rows, value)
        else:
            table[self.sample_index, rows] = value

    def mark_all(self, table: Tensor, value: bool) -> None:
        """Set the entries of all tokens in a table [B, L] of flags."""
        if self.together is not None:
            table[:, self.together] = value
        elif len(self.pools) == 1:
            table[self.samples[0], self.pools[0].rows] = value
        else:
            table[self.sample_index, self.rows] = value

    @property
    def _device(self) -> torch.device:
        return self.layout.origin.device


def pools_of(layout: Layout, hidden: Tensor, pool: Pool) -> Iterator[PoolRows]:
    """The pools of a batch; nothing for a sample without visual tokens."""
    for sample, count in enumerate(layout.visual_counts):
        if count == 0:
            continue

        visual = layout.visual_rows(sample)
        if pool == "sample":
            yield PoolRows(layout, sample, -1, visual, hidden)
            continue

        # each image keeps its own share, so that a large one cannot crowd out a small one
        for image, rows in images_of(layout, sample, visual):
            yield PoolRows(layout, sample, image, rows, hidden)


def images_of(layout: Layout, sample: int, visual: Rows) -> Iterator[tuple[int, Rows]]:
    """Number and rows of every image of a sample that still has tokens."""
    counts = layout.image_counts[sample]
    if not layout.prompt.images_in_order:
        # grouped by image, each in order
        rows = number(visual, layout.origin.device)
        visual = rows[layout.image[sample, rows].argsort(stable=True)]

    first = 0
    for image, count in enumerate(counts):
        if count:
            yield image, _part(visual, first, count)
        first += count


def _part(rows: Rows, first: int, count: int) -> Rows:
    if isinstance(rows, slice):
        return slice(rows.start + first, rows.start + first + count)
    return rows[first : first + count]


def grouped(
    pools: Iterable[tuple[PoolRows, K]], together: bool = True
) -> Iterator[tuple[PoolGroup, K]]:
    """Pools of equal size and key, in the order of their first.

    Query rows of several samples are read together, which end at the same row if their layout is
    aligned; other pools stay alone, as all do without `together`.
    """
    pools = list(pools)
    if not together or not all(pool.layout.aligned for pool, _ in pools):
        for pool, key in pools:
            yield PoolGroup([pool]), key
        return

    groups: dict[tuple[int, K], list[PoolRows]] = defaultdict(list)
    for pool, key in pools:
        groups[pool.count, key].append(pool)
    for (_, key), members in groups.items():
        yield PoolGroup(members), key
