"""Downsample: the control that makes the picture smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.grids import Crop, crops_of, smaller_grid
from transprune.algebra.select import select_even
from transprune.core.plan import Stage
from transprune.core.rows import to_device
from transprune.core.signals import Reads, VisionSignals
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MissingSignal
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import (
    KeepPruner,
    Merged,
    control_selection,
    keep_all_if_fits,
    split_budget,
)
from transprune.methods.common.recipe import register


@register("downsample")
@dataclass(frozen=True)
class Downsample(KeepPruner):
    """Resize the picture so that it becomes no more tokens than the budget, and encode it again.

    A control. Liao et al., "Are We Using the Right Benchmark", ACL 2026,
    https://arxiv.org/abs/2510.07143, find that it beats many published methods. They resize by D
    with D^2 = the share kept, on Qwen2-VL, whose tower takes any size; so it is here on Qwen2.5-VL.
    A tower with a fixed grid (CLIP, SigLIP) was never trained on another one: its position
    embeddings are interpolated, which is ours. Resizing is bicubic with antialiasing.

    The tower runs twice, once on the whole picture (the model does that before any choice is made)
    and once on the small one: this control compares what the language model can do with as many
    tokens, it saves nothing in the tower.

    Args:
        keep: the most tokens that stay, an int (count) or a float (share). A grid has rows times
            columns, so a few of them may be left over (7 become 2 x 3). Every crop gets its
            proportional share. Default 192, 12 x 16 of LLaVA-1.5's 24 x 24: a picture is stretched
            up to 1.5 times to use its budget.

    Raises:
        ScheduleError: a count below 1 or a share outside (0, 1].
        MissingSignal: a tower that cannot take a smaller picture.
    """

    title: ClassVar[str] = "Downsample: control, a smaller picture"
    paper: ClassVar[str] = "control, after Liao et al., ACL 2026, arXiv 2510.07143"
    fidelity: ClassVar[Fidelity] = "control"
    reads: ClassVar[Reads] = Reads(vision=("place", "grid", "picture"))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """At most the count: the grid depends on the shape of the picture."""
        stages = super().plan(num_layers, visual_tokens)
        return tuple(replace(stage, at_most=stage.count < visual_tokens) for stage in stages)

    def select(self, view: ProjectorView) -> Selection:
        """Features of the small pictures, in the middle of their cells; newline tokens go first."""
        whole = keep_all_if_fits(view)
        if whole is not None:
            return whole

        vision = view.vision
        # tokens without a patch have no pixels to scale, so they stay and count
        _, newlines = split_budget(vision, view.count)
        kept = [newlines]
        merged: list[Merged] = []

        for crop in crops_of(vision, view.count - len(newlines)):
            grid = smaller_grid(crop.size, crop.budget)
            slots = to_device(_middles(crop, grid), newlines.device)
            kept.append(slots)
            merged.append((slots, _encode_smaller(vision, crop, grid)))

        return control_selection(view, torch.cat(kept).sort().values, merged)


def _encode_smaller(vision: VisionSignals, crop: Crop, grid: tuple[int, int]) -> Tensor:
    """Features of a crop that fills only `grid` [rows, columns]. -> [rows * columns, D].

    The tower takes the whole crop, padding included, so the whole picture is resized and the
    rectangle that is in the prompt is cut out of its features.
    """
    if vision.encode is None:
        raise MissingSignal("this model cannot encode a picture again; use 'pool' as a control")

    # along rows, then along columns: size of the resized crop, first place of the rectangle in it
    whole = []
    first = []
    for axis in (0, 1):
        size = max(grid[axis], round(crop.whole[axis] * grid[axis] / crop.size[axis]))
        start = round(crop.corner[axis] * grid[axis] / crop.size[axis])
        whole.append(size)
        first.append(min(start, size - grid[axis]))

    features = vision.encode(crop.number, whole[0], whole[1])
    features = features.unflatten(0, whole)  # [rows, columns, D] of the whole crop
    rows = slice(first[0], first[0] + grid[0])
    columns = slice(first[1], first[1] + grid[1])
    return features[rows, columns].flatten(0, 1)


def _middles(crop: Crop, grid: tuple[int, int]) -> Tensor:
    """Tokens in the middle of each cell of a smaller grid, in raster order, on the host.

    -> [rows * columns].
    """
    rows = select_even(crop.size[0], grid[0])
    columns = select_even(crop.size[1], grid[1])
    wanted = (rows[:, None] * crop.size[1] + columns).flatten()

    # the tokens of a crop come in any order: find each wanted place among them
    number = crop.place[:, 0] * crop.size[1] + crop.place[:, 1]
    order = number.argsort(stable=True)
    found = torch.searchsorted(number[order], wanted).clamp(max=len(number) - 1)
    if not torch.equal(number[order][found], wanted):
        raise MissingSignal(
            "the attention mask hides a part of a picture, and 'downsample' needs all of it; use "
            "'pool' as a control"
        )

    return crop.tokens[order[found]]
