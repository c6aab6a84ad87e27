"""Qwen2.5-VL: most blocks of the tower attend within windows, and its rows come window by window."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.families.base import VisionCapture, VisionRows, register_family
from transprune.families.packed import Packed, frames_of
from transprune.families.tower import grid_places


@register_family("qwen2_5_vl")
class Qwen2_5_VL(Packed):
    """Qwen2.5-VL, images and videos."""

    title: ClassVar[str] = "Qwen2.5-VL"
    processor: ClassVar[str] = "Qwen2_5_VLProcessor"

    def block(self, tower: Any, name: str) -> int:
        """The last block that attends to whole pictures; the first one for early signals."""
        # attention within a window ranks no patches of a picture
        choose = min if name.startswith("early") else max
        return int(choose(tower.fullatt_block_indexes))

    def places(self, base: Any, rows: int, columns: int) -> Tensor:
        """Row and column of the merger's rows of one frame, window by window. -> long [n, 2]."""
        tower = base.visual
        side = tower.window_size // tower.spatial_merge_size // tower.patch_size

        places = grid_places(rows, columns)
        # any number that grows window by window
        window = places[:, 0] // side * columns + places[:, 1] // side
        return places[window.argsort(stable=True)]  # raster order within a window

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """The merger's rows come window by window, those of the prompt line by line."""
        crop = super().vision_rows(base, capture).crop
        lines = []
        for rows, columns in frames_of(base, capture):
            place = self.places(base, rows, columns)
            lines.append(place[:, 0] * columns + place[:, 1])

        by_line = torch.cat(lines).argsort(stable=True)
        return VisionRows(crop, order=by_line[crop[by_line].argsort(stable=True)])
