"""Put the inputs of several questions together into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def pad_left(rows: Sequence[dict[str, Tensor]], pad_id: int) -> dict[str, Tensor]:
    """Token rows [1, n] of different lengths as one batch [B, L], padded on the left."""
    longest = max(row["input_ids"].shape[1] for row in rows)

    batch = {}
    for name in rows[0]:
        # masks and token types are 0 for padding
        filler = pad_id if name == "input_ids" else 0

        padded = []
        for row in rows:
            missing = longest - row[name].shape[1]
            padded.append(pad(row[name], (missing, 0), value=filler))
        batch[name] = torch.cat(padded)

    return batch


def join_pictures(pictures: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Picture tensors of all rows, concatenated."""
    joined = {}
    for name in pictures[0]:
        values = [picture[name] for picture in pictures]

        # LLaVA-NeXT: [1, tiles, 3, H, W], with a number of tiles that depends on the picture
        if name == "pixel_values" and values[0].ndim == 5:
            values = _pad_tiles(values)
        joined[name] = torch.cat(values)

    return joined


def _pad_tiles(values: Sequence[Tensor]) -> list[Tensor]:
    """Empty tiles added, up to the largest number of tiles. -> [1, most, 3, H, W] each."""
    most = max(value.shape[1] for value in values)

    padded = []
    for value in values:
        missing = most - value.shape[1]

        # pad counts from the last dimension: W, H, colour, tiles
        padded.append(pad(value, (0, 0, 0, 0, 0, 0, 0, missing)))
    return padded
