"""Unusual: keep what is far from the average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from transprune.algebra.select import select_top
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.projector import KeepPruner
from transprune.methods.common.recipe import register


@register("unusual")
@dataclass(frozen=True)
class Unusual(KeepPruner):
    """Keep the visual tokens farthest from the mean of all."""

    title: ClassVar[str] = "Unusual: farthest from the mean"
    paper: ClassVar[str] = "nobody's"

    def select(self, view: ProjectorView) -> Selection:
        """The farthest, ties to the lower index."""
        features = view.features.float()
        return Selection(select_top((features - features.mean(dim=0)).norm(dim=-1), view.count))
