"""What a method reads of the keys of one layer that has run, and how it ranks them head by head.

Pools of equal size are shown together, so every tensor has a leading dimension. Shapes: G pools of
N visual tokens, H query heads, Hkv key/value heads (H = Hkv without grouped queries), T query rows,
d head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from transprune.core.plan import Rows
from transprune.errors import MissingSignal


@dataclass(frozen=True)
class CacheView:
    """The visual tokens in the cache of one decoder layer.

    Attributes:
        layer: 0-based decoder layer, which has run on all of them.
        total: N.
        heads, kv_heads: H and Hkv.
        rows: whose attention rows the method announced.
    """

    layer: int
    total: int
    heads: int
    kv_heads: int
    rows: Rows | None
    _attention: Callable[[Rows], Tensor]
    _keys: Callable[[], Tensor]
    _values: Callable[[], Tensor]

    def attention(self, rows: Rows = "last") -> Tensor:
        """Attention probabilities from some rows to the visual tokens, fp32. -> [G, H, T, N].

        The softmax runs over all keys the rows may attend to, then the visual columns are taken.
        Where questions of several lengths are shown together, shorter ones begin with zeros.

        Args:
            rows: `"last"` (the last token of the prompt) or `"instruction"` (every token after the
                last visual one), as the method announced.

        Raises:
            MissingSignal: rows that the method did not announce.
        """
        if rows != self.rows or rows == "mean":
            raise MissingSignal(
                f"a method that evicts keys reads the attention rows it announces by `rows` in its "
                f"`reads`, 'last' or 'instruction'; it announced {self.rows!r} and read {rows!r}"
            )
        return self._attention(rows)

    def attention_by_kv_head(self, rows: Rows = "last") -> Tensor:
        """The same, summed over the query heads that share keys, fp32. -> [G, Hkv, T, N]."""
        attention = self.attention(rows)
        if attention.shape[1] == self.kv_heads:
            return attention
        # neighbours share a head
        return attention.unflatten(1, (self.kv_heads, -1)).sum(dim=2)

    @property
    def keys(self) -> Tensor:
        """Keys as they are stored, rotated, in the dtype of the model. [G, Hkv, N, d]."""
        return self._keys()

    @property
    def values(self) -> Tensor:
        """Values as they are stored, in the dtype of the model. [G, Hkv, N, d]."""
        return self._values()


@dataclass(frozen=True)
class HeadRanking:
    """Which visual keys each head keeps first, and how many.

    Attributes:
        scores: float [G, Hkv, N], larger stays.
        choice: long [G], per pool which of the method's `counts` it is: 0 for the first. None takes
            the first everywhere. All heads of a layer keep equally many, so that the cache stays
            one tensor.
    """

    scores: Tensor
    choice: Tensor | None = None
