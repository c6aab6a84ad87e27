"""Qwen2.5-VL: a windowed tower without CLS, 2 x 2 patches merged into one token, M-RoPE positions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.core.library import private
from transprune.families.base import Family, VisionCapture, VisionRows, VisionTap, register_family
from transprune.families.tower import attention_received, grid_places, resize


@register_family("qwen2_5_vl")
class Qwen2_5_VL(Family):
    """Qwen2.5-VL. Renumbering has no definition under M-RoPE, so positions are always kept."""

    title: ClassVar[str] = "Qwen2.5-VL"
    mrope: ClassVar[bool] = True

    def raw_image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches of each image or video over the merge unit; images before videos only if the prompt has them so."""
        grids = [kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw")]
        if sum(grid is not None for grid in grids) != 1:
            return [total]
        unit = base.config.vision_config.spatial_merge_size**2
        return [
            int(t * h * w) // unit
            for grid in grids
            if grid is not None
            for t, h, w in grid.tolist()
        ]

    def vision_tap(self, base: Any, signals: Collection[str]) -> VisionTap:
        """Blocks that see whole images (the others see windows): the last one, and the first for what is early."""
        tower = base.visual
        wanted = {_block(tower, name) for name in signals if name.endswith(("saliency", "keys"))}
        inputs = {"tower": tower, "attention": tower.blocks[_block(tower, "saliency")].attn}
        return VisionTap(
            inputs, {f"qkv{block}": tower.blocks[block].attn.qkv for block in wanted}, tower.merger
        )

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every frame of every picture is a crop of its own."""
        tokens = [h * w for h, w in _frames(base, capture)]
        frames = torch.arange(len(tokens), device=_grid_thw(capture).device)
        return VisionRows(frames.repeat_interleave(torch.tensor(tokens, device=frames.device)))

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Attention received and keys, image by image, averaged over each merged group of patches.

        The four patches of a group are adjacent in the tower's window order, and so are the merger's rows. There is no
        CLS token, hence nothing of PruMerge's to imitate: outer signals are those of the last block.
        """
        if name in ("place", "grid"):
            places = _window_places(base, capture)
            return torch.cat(
                [place if name == "place" else grid.expand_as(place) for place, grid in places]
            )
        tower, block = base.visual, _block(base.visual, name)
        attention, unit = tower.blocks[block].attn, tower.spatial_merge_unit
        query, key, _ = (
            capture.outputs[f"qkv{block}"].unflatten(-1, (3, attention.num_heads, -1)).unbind(1)
        )
        inputs = capture.inputs["attention"][1]
        rotate = private(type(attention).__module__, "apply_rotary_pos_emb_vision")
        query, key = rotate(query, key, *inputs["position_embeddings"])  # [n, H, d]
        if name.endswith("keys"):
            return key.float().mean(dim=1).unflatten(0, (-1, unit)).mean(dim=1)
        lengths = inputs["cu_seqlens"].diff().tolist()  # one image or frame must not see another
        parts = zip(query.split(lengths), key.split(lengths), strict=True)
        received = [
            attention_received(q.transpose(0, 1), k.transpose(0, 1), attention.scaling)
            for q, k in parts
        ]
        return torch.cat(received).view(-1, unit).mean(dim=1)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The tower takes any size: patches become a picture, the picture becomes smaller and patches again."""
        (args, kwargs), tower = capture.inputs["tower"], base.visual
        patches, merge, side = (
            args[0] if args else kwargs["hidden_states"],
            tower.spatial_merge_size,
            tower.patch_size,
        )
        frames = _frames(base, capture)
        (h, w), unit = frames[crop], merge * merge
        start = unit * sum(rows * columns for rows, columns in frames[:crop])
        # [h * w * 4, channels * 2 * P * P] -> [1, channels * 2, H, W]
        pixels = patches[start : start + unit * h * w].view(h, w, merge, merge, -1, side, side)
        pixels = pixels.permute(4, 0, 2, 5, 1, 3, 6).reshape(
            1, -1, h * merge * side, w * merge * side
        )
        small = resize(pixels, (grid[0] * merge * side, grid[1] * merge * side))[0]
        small = small.unflatten(2, (grid[1], merge, side)).unflatten(1, (grid[0], merge, side))
        small = small.permute(1, 4, 2, 5, 0, 3, 6).reshape(unit * grid[0] * grid[1], -1)
        size = torch.tensor([[1, grid[0] * merge, grid[1] * merge]], device=patches.device)
        return tower(small, grid_thw=size).pooler_output


def _block(tower: Any, name: str) -> int:
    """The full-attention block a signal reads."""
    choose = min if name.startswith("early") else max
    return int(choose(tower.fullatt_block_indexes))


def _grid_thw(capture: VisionCapture) -> Tensor:
    args, kwargs = capture.inputs["tower"]
    grid: Tensor = args[1] if len(args) > 1 else kwargs["grid_thw"]
    return grid


def _frames(base: Any, capture: VisionCapture) -> list[tuple[int, int]]:
    """Rows and columns of merged tokens of each frame of each picture."""
    merge = base.visual.spatial_merge_size
    return [(h // merge, w // merge) for t, h, w in _grid_thw(capture).tolist() for _ in range(t)]


def _window_places(base: Any, capture: VisionCapture) -> list[tuple[Tensor, Tensor]]:
    """Per frame: places [n, 2] in the tower's window order, the order of the merger's rows, and the grid [1, 2]."""
    tower, device = base.visual, _grid_thw(capture).device
    side = tower.window_size // tower.spatial_merge_size // tower.patch_size
    found = []
    for rows, columns in _frames(base, capture):
        places = grid_places(rows, columns, device)
        window = (
            places[:, 0] // side * columns + places[:, 1] // side
        )  # any number that grows window by window
        order = window.argsort(stable=True)
        found.append((places[order], torch.tensor([[rows, columns]], device=device)))
    return found
