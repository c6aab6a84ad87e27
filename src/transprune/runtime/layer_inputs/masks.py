"""Project the mask the model made onto the rows and columns that are still there.

A given mask is never rebuilt, so padding, sliding windows, bidirectional image blocks and masks of
the user's own survive. Shapes: B samples, P query rows, K keys, S rows of the unpruned forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.library import private
from transprune.core.rows import Rows
from transprune.errors import LayoutError

ALL_MASK_ATTENTION_FUNCTIONS: Any = private(
    "transformers.masking_utils", "ALL_MASK_ATTENTION_FUNCTIONS"
)
flash_attention_mask: Any = private("transformers.masking_utils", "flash_attention_mask")


@dataclass(frozen=True)
class MaskProjection:
    """Which rows and columns of the given mask to take.

    Attributes:
        rows: long [B, P], query rows of this forward, 0..S-1.
        rows_real: bool [B, P], False on fillers; None where there are none.
        columns: long [B, K], slot of every key in the unpruned sequence, -1 on fillers.
        past: slots before this forward.
        length: S.
        dense: no filler among rows or columns.
        bias: float32 [B, K], added to the logits of each key (proportional attention), or None.
        square: the rows are those of the last keys, in order; False where only some of them are
            queries (frozen layers).
        cut: rows in front that the given mask lacks.
    """

    rows: Tensor
    rows_real: Tensor | None
    columns: Tensor
    past: int
    length: int
    dense: bool
    bias: Tensor | None = None
    square: bool = True
    cut: int = 0

    def of_rows(self, index: Tensor) -> MaskProjection:
        """The same keys for the query rows `index` [B, T] only."""
        return replace(
            self,
            rows=self.rows.gather(1, index),
            rows_real=None,
            square=False,
        )

    def of_samples(self, samples: slice | Tensor, rows: Rows) -> MaskProjection:
        """The keys of some samples for the same query rows of each. -> G samples."""
        return replace(
            self,
            rows=self.rows[samples][:, rows],
            rows_real=None,
            columns=self.columns[samples],
            bias=None if self.bias is None else self.bias[samples],
            square=False,
        )

    def apply(self, mask: Tensor | None, implementation: str, dtype: torch.dtype) -> Tensor | None:
        """The mask for these rows and columns, of the same kind as the given one.

        Raises:
            LayoutError: a kind of mask that cannot be projected (flex attention's block masks), or
                an attention that takes no mask of rows and columns where one is needed.
        """
        flash = is_flash(implementation)
        plain = self.square and self.bias is None
        if flash and not plain:
            raise LayoutError(
                "this method weighs keys or freezes rows, which needs a mask of rows and columns, "
                "and FlashAttention takes none. Load the model with attn_implementation='sdpa'."
            )

        if mask is None:
            return self._made_up(implementation, dtype, flash, plain)
        if not isinstance(mask, Tensor):
            raise LayoutError(
                f"pruning projects tensor masks; the layer was given a {type(mask).__name__}. Load "
                "the model with attn_implementation='sdpa', 'eager' or 'flash_attention_2'."
            )

        columns, inside = self._columns_in(mask.shape[-1])
        if mask.ndim == 2:  # a padding mask, as flash attention takes it
            return self._gather_padding(mask, columns, inside).to(mask.dtype)

        gathered = self._gather(mask, columns, inside)
        return self._add_bias(self._open_fillers(gathered), dtype)

    def allowed(self, mask: Tensor | None) -> Tensor:
        """Which keys each row may attend to, whatever the kind of mask. -> bool [B, 1, P, K]."""
        past_or_own = self.columns[:, None] <= (self.rows + self.past)[..., None]  # [B, P, K]
        # order by slot, not by place in memory: the rows keep gaps where tokens were dropped
        causal = self._real()[:, None] & past_or_own
        if mask is None:
            return causal[:, None]

        columns, inside = self._columns_in(mask.shape[-1])
        if mask.ndim == 2:
            padding = self._gather_padding(mask, columns, inside)
            return (causal & padding[:, None])[:, None]

        rows = self._gather(mask, columns, inside)
        return rows if rows.dtype == torch.bool else rows == 0

    def _made_up(
        self, implementation: str, dtype: torch.dtype, flash: bool, plain: bool
    ) -> Tensor | None:
        """The mask where the model passed none, which means "causal, nothing padded"."""
        if self.dense and plain:
            return None  # kernels then use their fast causal path
        if flash:
            return self._real()
        return self._add_bias(self._causal(implementation, dtype), dtype)

    def _columns_in(self, width: int) -> tuple[Tensor, Tensor]:
        """Columns as indices of a mask of `width`, and which of them lie inside it.

        A mask may start late: that of a sliding window covers the newest slots only. That of a
        static cache starts at the first slot and ends behind the last one.
        """
        columns = self.columns - max(0, self.past + self.length - width)
        inside = self._real() & (columns >= 0) & (columns < width)
        return columns.clamp(0, width - 1), inside

    def _real(self) -> Tensor:
        return self.columns >= 0

    def _gather_padding(self, mask: Tensor, columns: Tensor, inside: Tensor) -> Tensor:
        """Columns of a padding mask. -> bool [B, K]."""
        return mask.expand(len(columns), -1).gather(1, columns).bool() & inside

    def _gather(self, mask: Tensor, columns: Tensor, inside: Tensor) -> Tensor:
        """Rows and columns of a 4-D mask. [B or 1, H or 1, S, width] -> [B, H or 1, P, K]."""
        # rows first, then columns: never more than P x width entries
        batch, queries = self.rows.shape
        if mask.shape[2] == 1:  # the same keys for all rows
            mask = mask.expand(-1, -1, self.length, -1)

        mask = mask.expand(batch, -1, -1, -1)
        heads = mask.shape[1]

        rows = self.rows - self.cut if mask.shape[2] < self.length else self.rows
        row_index = rows[:, None, :, None].expand(-1, heads, -1, mask.shape[3])
        mask = mask.gather(2, row_index)
        column_index = columns[:, None, None].expand(-1, heads, queries, -1)
        mask = mask.gather(3, column_index)

        # a column outside a late-starting mask lies beyond the sliding window
        closed = ~inside[:, None, None]
        if mask.dtype == torch.bool:
            return mask & ~closed
        # the lowest number and not -inf, which gives NaN in a row without any other key
        return mask.masked_fill(closed, torch.finfo(mask.dtype).min)

    def _causal(self, implementation: str, dtype: torch.dtype) -> Tensor:
        allowed = self._open_fillers(self.allowed(None))
        if implementation != "eager":
            return allowed
        # eager attention adds the mask to its logits
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)

    def _open_fillers(self, mask: Tensor) -> Tensor:
        """Let each filler row attend to itself: a softmax over nothing is NaN on some kernels."""
        # the fillers of a frozen layer are tokens like others, and their output is not used
        if self.rows_real is None or not self.square:
            return mask

        queries, keys = mask.shape[-2:]
        own = torch.eye(queries, dtype=torch.bool, device=mask.device)
        # the rows of this forward are the last keys
        own = nn.functional.pad(own, (keys - queries, 0))
        own = own & ~self.rows_real[:, None, :, None]
        return mask | own if mask.dtype == torch.bool else mask.masked_fill(own, 0.0)

    def _add_bias(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """Add the bias of every key; a boolean mask becomes an additive one."""
        if self.bias is None:
            return mask
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
        return mask + self.bias[:, None, None].to(mask.dtype)


def is_flash(implementation: str) -> bool:
    """Whether this attention takes a 2-D padding mask.

    The registry answers: a name that contains "flash" proves nothing.
    """
    return ALL_MASK_ATTENTION_FUNCTIONS.get(implementation) is flash_attention_mask
