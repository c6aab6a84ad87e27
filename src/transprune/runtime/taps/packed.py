"""Refuse prompts whose rows hold several samples packed one after the other.

Scores would be shared between samples that cannot attend to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from transprune.errors import LayoutError


def check_one_sample_per_row(
    visual: Tensor, valid: Tensor, past: int, kwargs: Mapping[str, Any]
) -> None:
    """Raise LayoutError if a row packs several samples.

    Args:
        visual: visual tokens, bool [B, L].
        valid: real tokens, bool [B, L].
        past: tokens of earlier turns.
        kwargs: of the model's call.
    """
    packed = (
        kwargs.get("cu_seq_lens_q") is not None
        or _mask_numbers_samples(kwargs.get("attention_mask"))
        or _positions_start_again(kwargs.get("position_ids"), valid)
        or _mask_hides_tokens(kwargs.get("attention_mask"), visual, valid, past)
    )
    if packed:
        raise LayoutError(
            "a row of this batch packs several samples, or hides visual tokens from the last token "
            "of the prompt; tokens are ranked per row, so give every sample a row of its own, with "
            "padding"
        )


def _mask_numbers_samples(mask: Any) -> bool:
    """Whether a padding mask gives the number of the sample (1, 1, 2, 2, 2, 0) instead of 1."""
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.dtype == torch.bool:
        return False
    return bool((mask > 1).any())


def _positions_start_again(position_ids: Any, valid: Tensor) -> bool:
    """Whether positions fall from one real token to the next."""
    if not isinstance(position_ids, Tensor):
        return False
    if position_ids.ndim == 3:  # M-RoPE: [3 or 4, B, L], where the first axis never falls
        position_ids = position_ids[0]
    if position_ids.ndim != 2 or position_ids.shape[-1] != valid.shape[-1]:
        return False

    falls = position_ids.diff(dim=-1) < 0  # [1 or B, L - 1]
    both_real = valid[:, 1:] & valid[:, :-1]
    return bool((falls.to(valid.device) & both_real).any())


def _mask_hides_tokens(mask: Any, visual: Tensor, valid: Tensor, past: int) -> bool:
    """Whether a 4-D mask closes visual tokens to the last real token of their row."""
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return False

    batch, length = visual.shape
    last = length - 1 - valid.flip(1).int().argmax(dim=1)  # [B]
    # an additive mask is 0 where a token may be seen
    is_open = mask if mask.dtype == torch.bool else mask == 0
    rows = is_open.expand(batch, -1, length, -1).any(dim=1)  # [B, L, K]

    open_to_last = rows[torch.arange(batch, device=rows.device), last.to(rows.device)]  # [B, K]
    # a static cache has room behind the prompt
    own = open_to_last[:, past : past + length]
    return own.shape[1] != length or bool((visual.to(rows.device) & ~own).any())
