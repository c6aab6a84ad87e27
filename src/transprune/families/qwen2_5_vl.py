"""Qwen2.5-VL: a windowed tower without CLS, 2 x 2 patches in a token, M-RoPE positions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from transprune.core.library import private
from transprune.core.rows import upload
from transprune.errors import MissingExtra
from transprune.families.base import (
    Family,
    Grid,
    TapPoints,
    VisionCapture,
    VisionRows,
    register_family,
)
from transprune.families.tower import attention_received, grid_places, resize


@register_family("qwen2_5_vl")
class Qwen2_5_VL(Family):
    """Qwen2.5-VL. Renumbering has no definition under M-RoPE, so positions are always kept."""

    title: ClassVar[str] = "Qwen2.5-VL"
    mrope: ClassVar[bool] = True

    def tower(self, base: Any) -> Any:
        """The vision tower, which holds the merger too."""
        return base.visual

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches of each image or video over the merge unit; one pool where a call has both."""
        grids = [kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw")]
        present = [grid for grid in grids if grid is not None]
        if len(present) != 1:  # the order of images and videos in the prompt is unknown
            return [total]

        unit = base.config.vision_config.spatial_merge_size**2  # patches in one token
        return [int(t * h * w) // unit for t, h, w in present[0].tolist()]

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """As the processor says, for still pictures."""
        shapes = inputs.get("image_grid_thw")
        if shapes is None:
            return None

        merge = config.vision_config.spatial_merge_size
        frames, rows, columns = (int(n) for n in shapes[image])
        grid = Grid(rows // merge, columns // merge, total=tokens)
        return grid if frames == 1 and grid.cells == tokens else None

    def load_processor(self, place: str) -> Any:
        """Without torchvision, a processor that knows images only: just its video part needs it."""
        try:
            return super().load_processor(place)
        except ImportError:
            return _images_only(place)

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """The last block that attends to whole images; the first one for early signals."""
        # all other blocks attend within windows, so their attention ranks no patches of an image
        tower = base.visual
        attention = [name for name in signals if name.endswith(("saliency", "keys"))]
        blocks = {_block(tower, name) for name in attention}
        inputs = {"tower": tower, "attention": tower.blocks[_block(tower, "saliency")].attn}
        outputs = {f"qkv{block}": tower.blocks[block].attn.qkv for block in blocks}
        return TapPoints(inputs, outputs, tower.merger)

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Sizes of the pictures."""
        return {"grid_thw": _grid_thw(capture)}

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every frame of every picture is a crop of its own."""
        tokens = torch.tensor([h * w for h, w in _frames(base, capture)], dtype=torch.long)
        crop = torch.arange(len(tokens)).repeat_interleave(tokens)

        # the merger's rows come window by window, those of the prompt line by line
        line = torch.cat([p[:, 0] * g[0, 1] + p[:, 1] for p, g in _window_places(base, capture)])
        by_line = line.argsort(stable=True)
        return VisionRows(crop, order=by_line[crop[by_line].argsort(stable=True)])

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Attention received and keys, image by image, averaged over each merged group of patches.

        The four patches of a group are adjacent in the tower's window order, and so are the
        merger's rows. There is no CLS token, hence nothing of PruMerge's to imitate: outer signals
        are those of the last block.
        """
        if name in ("place", "grid"):
            parts = []
            for place, grid in _window_places(base, capture):
                parts.append(place if name == "place" else grid.expand_as(place))
            return torch.cat(parts)

        tower = base.visual
        block = _block(tower, name)
        attention = tower.blocks[block].attn
        unit = tower.spatial_merge_unit
        qkv = capture.outputs[f"qkv{block}"].unflatten(-1, (3, attention.num_heads, -1))
        query, key, _ = qkv.unbind(1)  # [n, H, d]

        inputs = capture.inputs["attention"][1]
        # the qkv output is captured in front of the rotation
        rotate = private(type(attention).__module__, "apply_rotary_pos_emb_vision")
        query, key = rotate(query, key, *inputs["position_embeddings"])
        if name.endswith("keys"):
            return key.float().mean(dim=1).unflatten(0, (-1, unit)).mean(dim=1)

        # one image or frame must not attend to another
        lengths = [unit * rows * columns for rows, columns in _frames(base, capture)]
        received = []
        for q, k in zip(query.split(lengths), key.split(lengths), strict=True):
            received.append(
                attention_received(q.transpose(0, 1), k.transpose(0, 1), attention.scaling)
            )
        return torch.cat(received).view(-1, unit).mean(dim=1)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The patches become a picture, which is resized and cut into patches again."""
        args, kwargs = capture.inputs["tower"]
        tower = base.visual
        patches = args[0] if args else kwargs["hidden_states"]
        merge = tower.spatial_merge_size
        side = tower.patch_size
        unit = merge * merge

        frames = _frames(base, capture)
        h, w = frames[crop]
        start = unit * sum(rows * columns for rows, columns in frames[:crop])

        # patches arrive group by group: the merge x merge patches of a token are adjacent
        # [h * w * 4, channels * 2 * P * P] -> [1, channels * 2, H, W]
        pixels = patches[start : start + unit * h * w].view(h, w, merge, merge, -1, side, side)
        pixels = pixels.permute(4, 0, 2, 5, 1, 3, 6)
        pixels = pixels.reshape(1, -1, h * merge * side, w * merge * side)
        small = resize(pixels, (grid[0] * merge * side, grid[1] * merge * side))[0]

        # and back, for the smaller grid
        small = small.unflatten(2, (grid[1], merge, side)).unflatten(1, (grid[0], merge, side))
        small = small.permute(1, 4, 2, 5, 0, 3, 6).reshape(unit * grid[0] * grid[1], -1)
        shape = [[1, grid[0] * merge, grid[1] * merge]]
        size = upload(np.array(shape, dtype=np.int64), patches.device)
        features: Tensor = tower(small, grid_thw=size).pooler_output
        return features


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
    frames = []
    grid = capture.on_host.get("grid_thw")
    if grid is None:
        grid = _grid_thw(capture).numpy(force=True)
    for t, h, w in grid.tolist():
        frames += [(h // merge, w // merge)] * t
    return frames


def _window_places(base: Any, capture: VisionCapture) -> list[tuple[Tensor, Tensor]]:
    """Places [n, 2] and grid [1, 2] of each frame, in the order of the merger's rows, on the host.

    The merger keeps the order of the tower, which is window by window.
    """
    tower = base.visual
    side = tower.window_size // tower.spatial_merge_size // tower.patch_size

    found = []
    for rows, columns in _frames(base, capture):
        places = grid_places(rows, columns)
        # any number that grows window by window
        window = places[:, 0] // side * columns + places[:, 1] // side
        order = window.argsort(stable=True)  # raster order within a window
        grid = torch.tensor([[rows, columns]], dtype=torch.long)
        found.append((places[order], grid))
    return found


def _images_only(place: str) -> Any:
    """The processor without its video part, the only one that needs torchvision."""
    from transformers import Qwen2_5_VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class ImagesOnly(Qwen2_5_VLProcessor):
        """The same prompt expansion and image processing; videos are unknown to it."""

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            # ProcessorMixin's constructor, as the parent's passes on a video processor
            self.image_token = "<|image_pad|>"
            self.video_token = "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    try:
        return ImagesOnly.from_pretrained(place)
    except Exception as error:
        raise MissingExtra(
            f"the processor of {place} needs torchvision (pip install torchvision); reading its "
            f"image part alone failed as well: {error}"
        ) from error
