"""What one pool of visual tokens can read of a decoder layer: rows of attention, keys, and what entered layer 0."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.views import Queries
from transprune.errors import MethodError, MissingSignal
from transprune.runtime.taps.attention.rows import AttentionRows


@dataclass
class PoolProbe:
    """Reads for one pool of one sample.

    Attributes:
        layout: rows of the batch at this depth.
        sample: number of the sample.
        rows: long [N], the pool's visual rows.
        image: number of the pool's image, -1 where all images of the sample form one pool.
        source: attention rows of the layer that is read.
        embedded: rows that entered layer 0 and their layout, if the method announced that it reads them.
    """

    layout: Layout
    sample: int
    rows: Tensor
    image: int
    source: AttentionRows
    embedded: tuple[Tensor, Layout] | None
    _known: dict[str, Tensor] = field(default_factory=dict)

    def attention(self, queries: Queries | Tensor) -> Tensor:
        """From the rows asked for to the pool's tokens. -> [H, T, N]."""
        return self._probabilities(queries)[..., _columns(self.rows + self.source.past)]

    def within_instruction(self) -> Tensor:
        """From the instruction to the instruction. -> [H, T, T]."""
        columns = query_rows(self.layout, self.sample, "instruction") + self.source.past
        return self._probabilities("instruction")[..., columns]

    def keys(self, rotated: bool) -> Tensor:
        """Keys of the pool's tokens. -> [Hkv, N, d]."""
        return self.source.keys(self.sample, _columns(self.rows), rotated)

    def mean_query(self) -> Tensor:
        """Mean query of the real rows up to the pool's last token. -> [H, d]."""
        real = self.layout.rows(self.sample)
        return self.source.mean_query(self.sample, real[real <= self.rows[-1]])

    def rotary_decay(self, queries: Queries) -> Tensor:
        """What distance alone does to a logit. -> [T, N]."""
        return self.source.rotary_decay(
            self.sample, query_rows(self.layout, self.sample, queries), _columns(self.rows)
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Visual tokens of the pool's images and instruction tokens, as they entered layer 0. -> [N0, D], [T, D]."""
        if self.embedded is None:
            raise MissingSignal(
                "a method that reads what entered layer 0 announces `embeddings` in its `reads`"
            )
        hidden, layout = self.embedded
        visual = layout.visual_rows(self.sample)
        if self.image >= 0:
            visual = visual[layout.image[self.sample, visual] == self.image]
        return hidden[self.sample, visual], hidden[
            self.sample, query_rows(layout, self.sample, "instruction")
        ]

    def _probabilities(self, queries: Queries | Tensor) -> Tensor:
        if isinstance(queries, Tensor):
            return self.source.probabilities(
                self.sample, query_rows(self.layout, self.sample, queries)
            )
        if queries not in self._known:  # asked for twice by methods that read two kinds of columns
            rows = query_rows(self.layout, self.sample, queries)
            self._known[queries] = self.source.probabilities(self.sample, rows)
        return self._known[queries]


def query_rows(layout: Layout, sample: int, queries: Queries | Tensor) -> Tensor:
    """Row numbers of the queries `"instruction"`, `"last"`, or given as numbers among the sample's real rows."""
    if isinstance(queries, Tensor):
        return layout.rows(sample)[queries]
    if queries == "instruction":
        return layout.instruction[sample].nonzero().flatten()
    if queries == "last":
        return layout.rows(sample)[-1:]
    raise MethodError(f"queries are 'instruction', 'last' or row numbers; got {queries!r}")


def _columns(rows: Tensor) -> Tensor | slice:
    """The rows as a slice where they are contiguous, as one image is: taking a slice copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows
