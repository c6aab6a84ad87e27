"""Downsample: the control that makes the picture smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.grids import Crop, crops_of, smaller_grid
from transprune.core.plan import Stage
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MissingSignal
from transprune.methods.common.projector import (
    KeepPruner,
    everything,
    split_budget,
    without_looking,
)
from transprune.methods.common.recipe import register


@register("downsample")
@dataclass(frozen=True)
class Downsample(KeepPruner):
    """Resize the picture so that it becomes no more tokens than the budget, and look at it again. A control.

    Liao et al., "Are We Using the Right Benchmark", ACL 2026, https://arxiv.org/abs/2510.07143, find that it beats many
    published methods. They resize by D with D^2 = the share kept, on Qwen2-VL, whose tower takes any size; so it is
    here on Qwen2.5-VL. A tower with a fixed grid (CLIP, SigLIP) was never trained on another one: its position
    embeddings are interpolated, which is ours. Resizing is bicubic with antialiasing.

    The tower runs twice, once on the whole picture (the model does that before any choice is made) and once on the
    small one: this control compares what the language model can do with as many tokens, it saves nothing in the tower.

    Args:
        keep: the most tokens that stay, an int (count) or a float (share). A grid has rows times columns, so a few of
            them may be left over (7 become 2 x 3). Every crop gets its proportional share. Default 192, 12 x 16 of
            LLaVA-1.5's 24 x 24: a picture is stretched up to 1.5 times to use its budget.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: a tower that cannot take a smaller picture.
    """

    title: ClassVar[str] = "Downsample: control, a smaller picture"
    paper: ClassVar[str] = "control, after Liao et al., ACL 2026, arXiv 2510.07143"
    reads: ClassVar[Reads] = Reads(vision=("place", "grid", "picture"))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """At most the count: the grid depends on the shape of the picture."""
        stages = super().plan(num_layers, visual_tokens)
        return tuple(replace(stage, at_most=stage.count < visual_tokens) for stage in stages)

    def select(self, view: ProjectorView) -> Selection:
        """The features of the small pictures, each where its middle was; newline tokens go first."""
        if (whole := everything(view)) is not None:
            return whole
        vision, features = view.vision, view.features.clone()
        if vision.encode is None:
            raise MissingSignal("this model cannot encode a picture again; use 'pool' as a control")
        _, others = split_budget(vision, view.count)
        kept = [others]
        for crop in crops_of(vision, view.count - len(others)):
            grid = smaller_grid(crop.size, crop.budget)
            whole_grid = [
                max(g, round(n * g / s))
                for n, g, s in zip(crop.whole, grid, crop.size, strict=True)
            ]
            small = vision.encode(crop.number, whole_grid[0], whole_grid[1]).unflatten(
                0, whole_grid
            )
            first = [
                min(round(c * g / s), n - g)
                for c, g, s, n in zip(crop.corner, grid, crop.size, whole_grid, strict=True)
            ]
            small = small[first[0] : first[0] + grid[0], first[1] : first[1] + grid[1]].flatten(
                0, 1
            )
            slots = _middles(crop, grid)
            features[slots] = small.to(features.dtype)
            kept.append(slots)
        keep = torch.cat(kept).sort().values
        return without_looking(view, keep, features[keep])


def _middles(crop: Crop, grid: tuple[int, int]) -> Tensor:
    """The tokens in the middle of each cell of a smaller grid, in raster order. -> [rows * columns] long."""
    rows, columns = (
        (2 * torch.arange(g) + 1) * s // (2 * g) for g, s in zip(grid, crop.size, strict=True)
    )
    wanted = (rows[:, None] * crop.size[1] + columns).flatten().to(crop.tokens.device)
    number = crop.place[:, 0] * crop.size[1] + crop.place[:, 1]
    order = number.argsort(stable=True)
    return crop.tokens[order[torch.searchsorted(number[order], wanted)]]
