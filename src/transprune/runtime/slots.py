"""Which slots of the unpruned sequence the entries of a pruned cache layer hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


class Slots:
    """Slot of each stored entry in the unpruned sequence; shared by the layers of one stage.

    Attributes:
        slots: long [B, P]; -1 marks the fillers of ragged batches.
        dense: there is no filler. A Python bool, so reading it never waits for the device.
        bias: float32 [B, P], added by every query to its logits of these keys, or None.
    """

    def __init__(self, slots: Tensor, dense: bool, bias: Tensor | None = None) -> None:
        self.slots = slots
        self.dense = dense
        self.bias = bias
        # what static buffers that begin with these entries share (`static.columns`)
        self.columns: dict[Any, Any] = {}
        self._mapped: tuple[Any, Slots] | None = None

    @property
    def plain(self) -> bool:
        """No mask is needed to attend to these entries: all are real, and all count alike."""
        return self.dense and self.bias is None

    def map_batch(self, key: Any, change: Callable[[Tensor], Tensor]) -> Slots:
        """The slots after a batch operation.

        Layers that apply the same operation (the same `key` object) keep sharing the result.
        """
        # one object per stage: projections are memoised by its identity
        if self._mapped is None or self._mapped[0] is not key:
            bias = None if self.bias is None else change(self.bias)
            self._mapped = (key, Slots(change(self.slots), self.dense, bias))

        return self._mapped[1]

    def without_last(self, n: int) -> Slots:
        """The slots without the last `n` entries; without any entry there is no bias either."""
        # an empty bias would still force an additive mask
        left = self.slots.shape[1] - n
        bias = self.bias[:, :left] if self.bias is not None and left else None
        return Slots(self.slots[:, :left], self.dense, bias)
