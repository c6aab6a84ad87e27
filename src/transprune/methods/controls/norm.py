"""Norm: the control that keeps the longest feature vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transprune.algebra.select import select_top
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import KeepPruner
from transprune.methods.common.recipe import register


@register("norm")
@dataclass(frozen=True)
class Norm(KeepPruner):
    """Keep the visual tokens whose projected features are longest. A control.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 192.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
    """

    title: ClassVar[str] = "Norm: control, longest features"
    paper: ClassVar[str] = "control"
    fidelity: ClassVar[Fidelity] = "control"

    def select(self, view: ProjectorView) -> Selection:
        """The longest, ties to the lower index."""
        length = view.features.float().norm(dim=-1)  # [N, D] -> [N]
        return Selection(select_top(length, view.count), scores={"score": length})
