"""Refuse prompts whose rows hold several samples packed one after the other.

Scores would be shared between samples that cannot attend to each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.rows import Flags, upload
from transprune.errors import LayoutError
from transprune.runtime.host import to_host

PACKED = (
    "a row of this batch packs several samples, or hides visual tokens from the last token of the "
    "prompt; tokens are ranked per row, so give every sample a row of its own, with padding"
)


def check_one_sample_per_row(
    visual: Flags,
    valid: Flags,
    past: int,
    mask: Any,
    numbers: NDArray[Any] | None,
    positions: NDArray[Any] | None,
) -> None:
    """Raise LayoutError if a row packs several samples.

    Args:
        visual: visual tokens [B, L].
        valid: real tokens [B, L].
        past: tokens of earlier turns.
        mask: the attention mask of the call, or None.
        numbers: that mask on the host, if it is a padding mask.
        positions: the position ids of the call [1 or B, L], or None.
    """
    packed = (
        _mask_numbers_samples(numbers)
        or _positions_start_again(positions, valid)
        or (numbers is None and _mask_hides_tokens(mask, visual, valid, past))
    )
    if packed:
        raise LayoutError(PACKED)


def _mask_numbers_samples(mask: NDArray[Any] | None) -> bool:
    """Whether a padding mask gives the number of the sample (1, 1, 2, 2, 2, 0) instead of 1."""
    return mask is not None and mask.dtype != np.bool_ and bool((mask > 1).any())


def _positions_start_again(positions: NDArray[Any] | None, valid: Flags) -> bool:
    """Whether positions fall from one real token to the next."""
    if positions is None:
        return False
    falls = np.diff(positions, axis=-1) < 0  # [1 or B, L - 1]
    return bool((falls & valid[:, 1:] & valid[:, :-1]).any())


def _mask_hides_tokens(mask: Any, visual: Flags, valid: Flags, past: int) -> bool:
    """Whether a 4-D mask closes visual tokens to the last real token of their row."""
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return False

    batch, length = visual.shape
    last = upload(length - 1 - valid[:, ::-1].argmax(axis=1), mask.device)  # [B]
    # an additive mask is 0 where a token may be seen
    is_open = mask if mask.dtype == torch.bool else mask == 0
    rows = is_open.expand(batch, -1, length, -1).any(dim=1)  # [B, L, K]

    open_to_last = rows[torch.arange(batch, device=rows.device), last]  # [B, K]
    # a static cache has room behind the prompt
    own = open_to_last[:, past : past + length]
    if own.shape[1] != length:
        return True

    (seen,) = to_host([own])  # waits for the device, for the sake of a mask nobody else passes
    return bool((visual & ~seen).any())
