"""Hidden states at the length of the prompt again."""

from __future__ import annotations

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.runtime.forward_pass import Pass


def scatter_back(state: Pass, layout: Layout, hidden: Tensor) -> Tensor:
    """Rows at their slots of the prompt, 0 where a token was dropped. [B, P, D] -> [B, L, D]."""
    # a filler's slot is that of a dropped token, so nothing real is overwritten; its row is zeroed,
    # as dropped tokens are
    values = hidden if layout.dense else hidden.masked_fill(~layout.valid[..., None], 0)
    if state.batch == 1:
        full = hidden.new_zeros(1, state.length, hidden.shape[-1])
        return full.index_copy(1, layout.tokens[0], values)

    # one flat index over the batch: slots of sample b start at b * L
    samples = torch.arange(state.batch, device=hidden.device)[:, None]
    slots = (layout.tokens + samples * state.length).flatten()
    full = hidden.new_zeros(state.batch * state.length, hidden.shape[-1])
    full = full.index_copy(0, slots, values.flatten(0, 1))
    return full.unflatten(0, (state.batch, state.length))
