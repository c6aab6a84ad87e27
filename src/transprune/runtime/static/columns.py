"""Which columns of the model's mask belong to the entries of a pruned static buffer.

In decoding with a static cache the model makes one mask over all slots of the unpruned sequence,
those still to come included. A pruned layer stores fewer entries, but each of them has its slot, so
its mask is a choice of columns. Causality, padding and the user's own masks come with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import CacheError
from transprune.runtime.slots import Slots


class Columns:
    """Columns of the mask for a buffer of K entries; shared by the layers of one stage.

    Attributes:
        slots: long [B, K], slot of every entry, also of those that are still empty.
        real: bool [B, K], False on fillers and behind the last column; None where all are real.
        bias: float32 [B, K], added to the logits of each key, or None.
    """

    def __init__(self, slots: Tensor, real: Tensor | None, bias: Tensor | None) -> None:
        self.slots = slots
        self.real = real
        self.bias = bias
        self._fitted: tuple[Tensor, Tensor] | None = None
        self._mapped: tuple[Tensor, Columns] | None = None

    @classmethod
    def of(cls, prefix: Slots, length: int, capacity: int, width: int) -> Columns:
        """Those of a buffer with `capacity` entries, which begins with a pruned prompt.

        Args:
            prefix: the entries of the prompt, [B, P].
            length: slots of the unpruned prompt; the next tokens get the slots behind it.
            capacity: entries of the buffer, K.
            width: columns of the masks to come, the length of the unpruned cache.
        """
        key = (length, capacity, width)
        known = prefix.columns.get(key)
        if known is not None:
            return known

        batch, entries = prefix.slots.shape
        end = length + capacity - entries
        tail = torch.arange(length, end, device=prefix.slots.device).expand(batch, -1)
        slots = torch.cat([prefix.slots, tail], dim=1)

        all_real = prefix.dense and end <= width
        real = None if all_real else (slots >= 0) & (slots < width)
        bias = prefix.bias
        if bias is not None:
            bias = nn.functional.pad(bias, (0, capacity - entries))

        columns = cls(slots.clamp(0, width - 1), real, bias)
        # layers of one stage share their prefix, and with it one mask per step
        prefix.columns[key] = columns
        return columns

    def fit(self, mask: Any, dtype: torch.dtype) -> Tensor:
        """The mask of this buffer. [B or 1, H or 1, L, width] -> [B, H or 1, L, K].

        Raises:
            CacheError: there is no mask of rows and columns (FlashAttention takes none).
        """
        if not isinstance(mask, Tensor) or mask.ndim != 4:
            raise CacheError(NO_MASK)

        # one mask per stage and step; in a graph the compiler finds the equal ones itself
        compiling = torch.compiler.is_compiling()
        if not compiling and self._fitted is not None and self._fitted[0] is mask:
            return self._fitted[1]

        fitted = self._fit(mask, dtype)
        if not compiling:
            self._fitted = (mask, fitted)
        return fitted

    def _fit(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        batch, entries = self.slots.shape
        _, heads, rows, width = mask.shape
        index = self.slots[:, None, None].expand(batch, heads, rows, entries)
        fitted = mask.expand(batch, heads, rows, width).gather(3, index)

        lowest = torch.finfo(dtype).min
        if self.real is not None:
            # fillers of shorter samples are stored like rows, and nobody may attend to them
            closed = ~self.real[:, None, None]
            is_bool = fitted.dtype == torch.bool
            fitted = fitted & ~closed if is_bool else fitted.masked_fill(closed, lowest)

        if self.bias is None:
            return fitted

        # a bias can only be added to logits, so a mask of flags becomes one that is added
        if fitted.dtype == torch.bool:
            fitted = torch.zeros_like(fitted, dtype=dtype).masked_fill(~fitted, lowest)

        return fitted + self.bias[:, None, None].to(fitted.dtype)

    def reorder(self, samples: Tensor) -> Columns:
        """The columns of the samples `samples` [B]; layers that share these share the result."""
        if self._mapped is None or self._mapped[0] is not samples:
            index = samples.to(self.slots.device)
            real = None if self.real is None else self.real[index]
            bias = None if self.bias is None else self.bias[index]
            self._mapped = (samples, Columns(self.slots[index], real, bias))
        return self._mapped[1]


NO_MASK = (
    "a pruned static cache needs a mask of rows and columns in every decode step, and this attention "
    "was given none. Load the model with attn_implementation='sdpa' or 'eager', or leave "
    "cache_implementation unset"
)
