"""What one pool of visual tokens reads of a decoder layer: rows of attention, keys, queries."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.views import Queries
from transprune.errors import MethodError
from transprune.runtime.taps.attention.rows import AttentionRows
from transprune.runtime.taps.base import PoolRows


@dataclass
class PoolAttention:
    """Attention from and to one pool.

    Attributes:
        pool: the visual rows.
        source: attention rows of the layer that is read.
    """

    pool: PoolRows
    source: AttentionRows
    _known: dict[str, Tensor] = field(default_factory=dict)

    def to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Probabilities from the query rows to the pool's tokens. -> [H, T, N]."""
        # keys of earlier turns come first
        columns = _columns(self.pool.rows + self.source.past)
        return self._probabilities(queries)[..., columns]

    def within_instruction(self) -> Tensor:
        """Probabilities from the instruction to the instruction. -> [H, T, T]."""
        instruction = query_rows(self.pool.layout, self.pool.sample, "instruction")
        return self._probabilities("instruction")[..., instruction + self.source.past]

    def keys(self, rotated: bool) -> Tensor:
        """Keys of the pool's tokens. -> [Hkv, N, d]."""
        return self.source.keys(self.pool.sample, _columns(self.pool.rows), rotated)

    def context_keys(self) -> Tensor:
        """Unrotated keys of the real rows up to the pool's last token, but its own.

        -> [Hkv, M, d].
        """
        rows = self._up_to_last()
        rows = rows[~torch.isin(rows, self.pool.rows)]
        return self.source.keys(self.pool.sample, rows, rotated=False)

    def mean_query(self) -> Tensor:
        """Mean query of the real rows up to the pool's last token. -> [H, d]."""
        return self.source.mean_query(self.pool.sample, self._up_to_last())

    def rotary_decay(self, queries: Queries) -> Tensor:
        """What distance alone does to a logit. -> [T, N]."""
        rows = query_rows(self.pool.layout, self.pool.sample, queries)
        return self.source.rotary_decay(self.pool.sample, rows, _columns(self.pool.rows))

    def _up_to_last(self) -> Tensor:
        """Real rows up to the pool's last token: text in front of the image, and images. -> [R]."""
        real = self.pool.layout.rows(self.pool.sample)
        return real[real <= self.pool.rows[-1]]

    def _probabilities(self, queries: Queries | Tensor) -> Tensor:
        layout = self.pool.layout
        sample = self.pool.sample
        if isinstance(queries, Tensor):
            return self.source.probabilities(sample, query_rows(layout, sample, queries))

        # a method that reads two kinds of columns needs the same rows twice
        if queries not in self._known:
            rows = query_rows(layout, sample, queries)
            self._known[queries] = self.source.probabilities(sample, rows)
        return self._known[queries]


def query_rows(layout: Layout, sample: int, queries: Queries | Tensor) -> Tensor:
    """Row numbers of the queries; a tensor counts among the sample's real rows. -> long [T]."""
    if isinstance(queries, Tensor):
        return layout.prompt_rows(sample)[queries]
    if queries == "instruction":
        return layout.instruction[sample].nonzero().flatten()
    if queries == "last":
        return layout.prompt_rows(sample)[-1:]
    raise MethodError(f"queries are 'instruction', 'last' or row numbers; got {queries!r}")


def _columns(rows: Tensor) -> Tensor | slice:
    """The rows as a slice where they are contiguous, as those of one image are."""
    # taking a slice copies nothing, where row numbers copy all keys
    first = int(rows[0])
    last = int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows
