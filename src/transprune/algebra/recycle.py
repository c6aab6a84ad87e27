"""Tokens that go are averaged cell by cell, and each average takes the place of one of them.

Plain tensors in, indices and rows out; nothing waits for the device, which cell a token is in is
known on the host. Shapes: N tokens, C cells, K tokens that stay, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.algebra.select import rankable
from transprune.algebra.zones import rank_in_group
from transprune.core.signals import VisionSignals

LEAST_WEIGHT = 1e-12  # a cell whose importance underflows gets a plain mean


@dataclass(frozen=True)
class Recycled:
    """What stays of a pool.

    Attributes:
        keep: long [K], ascending.
        is_mean: bool [K], kept tokens that become the mean of what goes from their cell.
        member: bool [N], tokens that are part of such a mean.
    """

    keep: Tensor
    is_mean: Tensor
    member: Tensor


def choose_recycled(
    importance: Tensor, cell: Tensor, cells: int, count: int, slots: int
) -> Recycled:
    """The `count - slots` most important tokens, and up to `slots` means of the others by cell.

    A mean stands at the most important token of those that go from its cell. Of more cells than
    slots the least important means are left out; slots that no cell needs go to the next most
    important tokens, which are then part of no mean. Ties go to the lower index.

    Args:
        importance: [N], larger is better.
        cell: long [N]; `cells` for a token that is in none.
        cells: their number C.
        count: tokens that stay, K.
        slots: how many of them may be means, at most K.

    Source: recycling in VFlowOpt (ICCV 2025).
    """
    total = len(importance)
    order = rankable(importance).argsort(descending=True, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(total, device=order.device)
    goes = place >= count - slots

    # the tokens that stay as they are, and those without a cell, take no part in the ranking
    group = torch.where(goes, cell, cells)
    leads = (rank_in_group(importance, group) == 0) & (group < cells)

    # untouched ones first, then the leading ones of the cells, then the rest
    turn = goes.long() + (goes & ~leads).long()
    keep = (turn * total + place).argsort()[:count].sort().values

    stays = torch.zeros_like(goes).index_fill_(0, keep, True)
    return Recycled(keep, leads[keep], (group < cells) & (leads | ~stays))


def mean_of_cells(
    features: Tensor, importance: Tensor, cell: Tensor, cells: int, chosen: Recycled
) -> Tensor:
    """The kept rows, means where they stand for their cell. [N, D] -> [K, D] in the same dtype.

    A mean weighs its members by their importance, fp32.
    """
    weight = importance.float().clamp(min=LEAST_WEIGHT) * chosen.member  # [N]
    group = cell.clamp(max=cells)

    total = weight.new_zeros(cells + 1).index_add_(0, group, weight)
    rows = features.float() * weight[:, None]
    sums = rows.new_zeros(cells + 1, rows.shape[1]).index_add_(0, group, rows)
    means = sums / total.clamp(min=LEAST_WEIGHT)[:, None]  # [C + 1, D]

    own = features[chosen.keep]
    of_cell = means[group[chosen.keep]].to(features.dtype)
    return torch.where(chosen.is_mean[:, None], of_cell, own)


def cells_of(vision: VisionSignals, side: float) -> NDArray[np.int64] | None:
    """The cell of each token, [N] on the host, -1 for tokens without a patch.

    The view of the whole picture and its tiles together have a grid each; that of the tiles begins
    at the first row and column that are in the prompt. None for several pictures.
    """
    tiles = vision.tiles
    if len({tile.picture for tile in tiles}) > 1:
        return None

    crop = vision.on_host("crop")
    shown = crop >= 0
    of_token = np.array([(t.row, t.column, t.is_overview) for t in tiles])[crop[shown]]
    overview = of_token[:, 2] > 0

    # a tile's places go on where those of its neighbour end
    place = vision.on_host("place")[shown]
    corner = np.where(overview[:, None], 0, of_token[:, :2].clip(0))
    place = place + corner.astype(np.int64) * vision.on_host("grid")[shown]
    for part in (overview, ~overview):
        if part.any():
            place[part] -= place[part].min(axis=0)

    row, column = np.floor(place / side).astype(np.int64).T
    numbers = (overview * (row.max() + 1) + row) * (column.max() + 1) + column
    cell = np.full(len(crop), -1, dtype=np.int64)
    cell[shown] = np.unique(numbers, return_inverse=True)[1]
    return cell
