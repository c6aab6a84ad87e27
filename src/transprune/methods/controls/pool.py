"""Pool: the control that averages neighbouring patches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from transprune.algebra.grids import crops_of, cut_cells, middle_members
from transprune.algebra.select import group_mean
from transprune.core.rows import to_device
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import (
    KeepPruner,
    Merged,
    control_selection,
    keep_all_if_fits,
    pre_projector_rows,
    split_budget,
    to_feature_space,
)
from transprune.methods.common.recipe import register


@register("pool")
@dataclass(frozen=True)
class Pool(KeepPruner):
    """Average the patches of each cell of a coarser grid, in front of the projector. A control.

    Every crop gets its proportional share of the budget and is cut into exactly that many cells of
    nearly equal size (144 of 24 x 24 are 2 x 2 squares). The average stands in the middle of its
    cell.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 192.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
    """

    title: ClassVar[str] = "Pool: control, averages on the grid"
    paper: ClassVar[str] = "control"
    fidelity: ClassVar[Fidelity] = "control"
    reads: ClassVar[Reads] = Reads(vision=("place", "grid"))

    def select(self, view: ProjectorView) -> Selection:
        """One average per cell; newline tokens go first."""
        whole = keep_all_if_fits(view)
        if whole is not None:
            return whole

        vision = view.vision
        values = pre_projector_rows(view, vision)  # [N, V]
        _, newlines = split_budget(vision, view.count)
        there = partial(to_device, device=values.device)
        kept = [newlines]
        merged: list[Merged] = []

        for crop in crops_of(vision, view.count - len(newlines)):
            cell = cut_cells(crop.place, crop.size, crop.budget)  # [n], on the host
            cells = int(cell.max()) + 1
            middle = there(crop.tokens[middle_members(cell, cells)])

            members = values[there(crop.tokens)]  # [n, V]
            average = group_mean(members, there(cell), cells)  # [n, V] -> [cells, V]
            kept.append(middle)
            merged.append((middle, to_feature_space(view, vision, average)))

        return control_selection(view, torch.cat(kept).sort().values, merged)
