"""Entries of a cache that stay, their slots, and the keys and values there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from transprune.core.rows import upload
from transprune.runtime.eviction.kept import KeptRows
from transprune.runtime.eviction.scored import ScoredLayer
from transprune.runtime.slots import Slots


def slots_of(scored: ScoredLayer, rows: KeptRows) -> Slots:
    """The slots of what stays, [B, P].

    Every head keeps other tokens, so a visual slot does not say whose key it holds. All text behind
    the picture may attend to every visual key, and the slots of the text are those of all heads, so
    masks of later tokens are right.
    """
    layout = scored.layout
    slots = layout.origin.expand(layout.batch, -1).gather(1, rows.own)
    if scored.history.length:
        slots = slots + scored.history.length

    width = rows.own.shape[1]
    dense = min(rows.kept) == width
    if not dense:
        fillers = np.arange(width) < width - np.array(rows.kept)[:, None]
        slots = slots.masked_fill(upload(fillers, slots.device), -1)

    earlier = scored.history.slots
    if earlier is None:
        return Slots(slots, dense)
    return Slots(torch.cat([earlier.slots, slots], dim=1), dense and earlier.dense)


def entries_of(scored: ScoredLayer, rows: KeptRows) -> Tensor:
    """The entries that stay, those of earlier forwards first. long [B, Hkv, P]."""
    count = scored.earlier
    if count == 0:
        return rows.index
    before = torch.arange(count, device=rows.index.device).expand(*rows.index.shape[:2], -1)
    return torch.cat([before, rows.index + count], dim=-1)


def take_entries(stored: Tensor, entries: Tensor) -> Tensor:
    """Entries [B, Hkv, P] of keys or values [B, Hkv, n, d]. -> [B, Hkv, P, d]."""
    batch, heads, total, width = stored.shape
    # one table of rows, which are copied whole
    first = torch.arange(0, batch * heads * total, total, device=stored.device)
    places = entries.to(stored.device) + first.view(batch, heads, 1)
    taken = stored.reshape(-1, width).index_select(0, places.flatten())
    return taken.view(batch, heads, -1, width)
