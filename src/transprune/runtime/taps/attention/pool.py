"""What pools of visual tokens read of a decoder layer: rows of attention, keys, queries."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from transprune.algebra.select import others
from transprune.core.layout import Layout
from transprune.core.rows import (
    Rows,
    count_rows,
    last_rows,
    number,
    some_rows,
    upload,
    without_last,
)
from transprune.core.views import Queries
from transprune.errors import MethodError
from transprune.runtime.pools import PoolGroup, PoolRows
from transprune.runtime.taps.attention.rows import AttentionRows

BLOCK = 2**22  # of these where rows are read block by block, 16 MiB
MOST = 2**26  # probabilities that are made at once, 256 MiB: a batch must not cost more memory


@dataclass
class GroupAttention:
    """Attention to pools of equal size. Shapes: G pools of N tokens, T query rows.

    Where the questions differ in length, the rows of shorter ones are filled up in front with zeros.

    Attributes:
        group: the pools.
        source: attention rows of the layer that is read.
    """

    group: PoolGroup
    source: AttentionRows
    _known: dict[str, Tensor] = field(default_factory=dict)

    def to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Probabilities from the query rows to the pools' tokens. -> [G, H, T, N]."""
        return self.group.columns(self._probabilities(queries)[..., self.source.past :])

    def mean_to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Their mean over heads and query rows. -> [G, N]."""
        pools = self.group.pools
        if len(pools) > 1 and self.source.size(len(pools), self._width(queries)) > MOST:
            alone = [GroupAttention(PoolGroup([pool]), self.source) for pool in pools]
            return torch.cat([one.mean_to_visual(queries) for one in alone])

        received = self._probabilities(queries).mean(dim=(1, 2))  # [G, H, T, K] -> [G, K]
        mean = self.group.columns(received[:, self.source.past :])
        counts = self._counts(queries)
        if len(set(counts)) > 1:
            # the mean ran over the zeros too
            share = max(counts) / np.array(counts, dtype=np.float32)[:, None]
            mean = mean * upload(share.astype(np.float32), mean.device)

        return mean

    def _probabilities(self, queries: Queries | Tensor) -> Tensor:
        if isinstance(queries, Tensor):
            return self._rows(queries)

        # a method that reads two kinds of columns needs the same rows twice
        if queries not in self._known:
            self._known[queries] = self._rows(queries)
        return self._known[queries]

    def _rows(self, queries: Queries | Tensor) -> Tensor:
        """Probabilities from the query rows to all keys. -> [G, H, T, K]."""
        counts = self._counts(queries)
        if len(counts) == 1 or isinstance(queries, Tensor):
            rows = query_rows(self.group.layout, self.group.samples[0], queries)
            return self.source.probabilities(self.group.selector, rows)

        # in aligned layouts the query rows of all samples end at the same row
        widest = counts.index(max(counts))
        rows = query_rows(self.group.layout, self.group.samples[widest], queries)
        probabilities = self.source.probabilities(self.group.selector, rows)
        if len(set(counts)) > 1:
            first = max(counts) - np.array(counts)[:, None]
            fillers = upload(np.arange(max(counts)) < first, probabilities.device)  # [G, T]
            probabilities = probabilities.masked_fill(fillers[:, None, :, None], 0)

        return probabilities

    def _counts(self, queries: Queries | Tensor) -> list[int]:
        """Query rows of each pool."""
        if queries != "instruction":
            return [self._width(queries)] * len(self.group.pools)
        counts = self.group.layout.prompt.instruction_counts
        return [counts[sample] for sample in self.group.samples]

    def _width(self, queries: Queries | Tensor) -> int:
        """Query rows of the pool that has most."""
        if isinstance(queries, Tensor):
            return len(queries)
        if queries == "last":
            return 1
        return max(self._counts(queries))


class PoolAttention:
    """Attention from and to one pool.

    Args:
        pool: the visual rows.
        source: attention rows of the layer that is read.
    """

    def __init__(self, pool: PoolRows, source: AttentionRows) -> None:
        self.pool = pool
        self.source = source
        self._group = GroupAttention(PoolGroup([pool]), source)

    def to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Probabilities from the query rows to the pool's tokens. -> [H, T, N]."""
        return self._group.to_visual(queries)[0]

    def mean_to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Their mean over heads and query rows. -> [N]."""
        return self._group.mean_to_visual(queries)[0]

    def within_instruction(self) -> Tensor:
        """Probabilities from the instruction to the instruction. -> [H, T, T]."""
        instruction = query_rows(self.pool.layout, self.pool.sample, "instruction")
        rows = self._group._probabilities("instruction")[0]
        return rows[..., self.source.past :][..., instruction]

    def keys(self, rotated: bool) -> Tensor:
        """Keys of the pool's tokens. -> [Hkv, N, d]."""
        return self.source.keys(self.pool.sample, self.pool.rows, rotated)

    def context_keys(self) -> Tensor:
        """Unrotated keys of the real rows up to the pool's last token, but its own.

        -> [Hkv, M, d].
        """
        own = self.pool.rows
        rows = self._up_to_last()
        if isinstance(own, slice) and isinstance(rows, slice):
            # all of them stand in front of the pool
            return self.source.keys(self.pool.sample, slice(rows.start, own.start), rotated=False)

        table = number(rows, self.pool.hidden.device)
        own = number(own, table.device)
        places = torch.searchsorted(table, own)
        in_front = table[others(len(table), places)]
        return self.source.keys(self.pool.sample, in_front, rotated=False)

    def mean_query(self) -> Tensor:
        """Mean query of the real rows up to the pool's last token. -> [H, d]."""
        return self.source.mean_query(self.pool.sample, self._up_to_last())

    def received(self) -> tuple[Tensor, Tensor]:
        """What each token receives of the pool's rows, and of the instruction. -> [N], [N]."""
        instruction = query_rows(self.pool.layout, self.pool.sample, "instruction")
        of_pool = self._sum_of_largest(self.pool.rows) / self.pool.count
        return of_pool, self._sum_of_largest(instruction)

    def rotary_decay(self, queries: Queries) -> Tensor:
        """What distance alone does to a logit. -> [T, N]."""
        rows = query_rows(self.pool.layout, self.pool.sample, queries)
        return self.source.rotary_decay(self.pool.sample, rows, self.pool.rows)

    def _sum_of_largest(self, rows: Rows) -> Tensor:
        """The largest probability of all heads, summed over `rows`; a block of them at a time.

        -> [N].
        """
        group = self._group.group
        total = torch.zeros(self.pool.count, dtype=torch.float32, device=self.pool.hidden.device)
        step = max(1, BLOCK // self.source.size(1, 1))

        for first in range(0, count_rows(rows), step):
            block = some_rows(rows, first, step)
            probabilities = self.source.probabilities(group.selector, block)  # [1, H, T, K]
            columns = group.columns(probabilities[..., self.source.past :])  # [1, H, T, N]
            total += columns[0].amax(dim=0).sum(dim=0)

        return total

    def _up_to_last(self) -> Rows:
        """Real rows up to the pool's last token: text in front of the image, and images."""
        layout = self.pool.layout
        sample = self.pool.sample
        real = layout.rows(sample)
        own = self.pool.rows
        if isinstance(real, slice) and isinstance(own, slice):
            return slice(real.start, own.stop)
        if self.pool.image < 0:
            # only the instruction stands behind all images of a sample
            prompt = layout.prompt
            behind = 0 if prompt.ends_with_image[sample] else prompt.instruction_counts[sample]
            return without_last(layout.prompt_rows(sample), behind)

        # an image that text interrupts: waits for the device
        table = number(real, self.pool.hidden.device)
        last = number(own, table.device)[-1]
        return table[table <= last]


def query_rows(layout: Layout, sample: int, queries: Queries | Tensor) -> Rows:
    """Row numbers of the queries; a tensor counts among the sample's real rows."""
    if isinstance(queries, Tensor):
        return number(layout.prompt_rows(sample), layout.origin.device)[queries]
    if queries == "instruction":
        return layout.instruction_rows(sample)
    if queries == "last":
        return last_rows(layout.prompt_rows(sample), 1)
    raise MethodError(f"queries are 'instruction', 'last' or row numbers; got {queries!r}")
