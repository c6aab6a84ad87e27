"""Vision towers that take the patches of all pictures as one list: Qwen-VL and GLM-V.

Pictures keep their shape, so each has its own number of patches, and the list needs no padding.
merge x merge patches that are adjacent in the picture are adjacent in the list, and one token comes
of them. Every frame of a video is a picture of its own in the tower: none attends to another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from transprune.core.library import private
from transprune.core.rows import upload
from transprune.families.base import Family, Grid, TapPoints, VisionCapture, VisionRows
from transprune.families.depths import is_attention
from transprune.families.tower import grid_places, resize, saliency_of
from transprune.families.without_videos import load_with_or_without_videos

# share of the tower below VScan's early layer: 5 of CLIP-L's 22 layers
EARLY = 5 / 22


class Packed(Family):
    """A family with such a tower. Renumbering has no definition under M-RoPE: positions are kept.

    Attributes:
        processor: class of its processor in transformers.
    """

    mrope: ClassVar[bool] = True
    processor: ClassVar[str]

    def tower(self, base: Any) -> Any:
        """The vision tower, which holds the merger too."""
        return base.visual

    def has_fixed_size(self, config: Any) -> bool:
        """Never; an `image_size` in the configuration is that of the position embeddings."""
        return False

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
        return load_with_or_without_videos(place, self.processor)

    # ------------------------------------------------------------------------ vision signals

    def block(self, tower: Any, name: str) -> int:
        """The block that a signal reads: the last one, or a quarter up the tower."""
        last = len(tower.blocks) - 1
        return round(last * EARLY) if name.startswith("early") else last

    def places(self, base: Any, rows: int, columns: int) -> Tensor:
        """Row and column of the merger's rows of one frame, on the host. -> long [n, 2]."""
        return grid_places(rows, columns)

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """The projections of the blocks that are read, and the merger."""
        tower = base.visual
        attention = [name for name in signals if is_attention(name)]
        blocks = {self.block(tower, name) for name in attention}
        inputs = {"tower": tower, "attention": tower.blocks[self.block(tower, "saliency")].attn}
        outputs = {f"qkv{block}": tower.blocks[block].attn.qkv for block in blocks}
        return TapPoints(inputs, outputs, tower.merger)

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Sizes of the pictures."""
        return {"grid_thw": _grid_thw(capture)}

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every frame of every picture is a crop of its own."""
        tokens = torch.tensor([h * w for h, w in frames_of(base, capture)], dtype=torch.long)
        return VisionRows(torch.arange(len(tokens)).repeat_interleave(tokens))

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Attention received and keys, frame by frame, averaged over each merged group of patches.

        There is no CLS token, hence nothing of PruMerge's to imitate: outer signals are those of
        the last block that is read.
        """
        if name in ("place", "grid"):
            return self._places(base, capture, name)

        query, key = self._query_and_key(base, capture, name)  # [P, H, d]
        unit = base.visual.spatial_merge_size**2
        if name.endswith("keys"):
            return key.float().mean(dim=1).unflatten(0, (-1, unit)).mean(dim=1)

        # one image or frame must not attend to another
        lengths = [unit * rows * columns for rows, columns in frames_of(base, capture)]
        scale = base.visual.blocks[self.block(base.visual, name)].attn.scaling
        received = []
        for q, k in zip(query.split(lengths), key.split(lengths), strict=True):
            heads = (q.transpose(0, 1)[None], k.transpose(0, 1)[None])  # [1, H, n, d] each
            received.append(saliency_of(*heads, scale, has_cls=False, name=name)[0])

        return torch.cat(received).view(-1, unit).mean(dim=1)

    def _places(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Row and column of every token, or the size of the grid."""
        parts = []
        for rows, columns in frames_of(base, capture):
            place = self.places(base, rows, columns)
            grid = torch.tensor([[rows, columns]], dtype=torch.long)
            parts.append(place if name == "place" else grid.expand_as(place))
        return torch.cat(parts)

    def _query_and_key(self, base: Any, capture: VisionCapture, name: str) -> tuple[Tensor, Tensor]:
        """Rotated queries and keys of the block that a signal reads. [P, H, d] each."""
        block = self.block(base.visual, name)
        attention = base.visual.blocks[block].attn
        qkv = capture.outputs[f"qkv{block}"].unflatten(-1, (3, attention.num_heads, -1))
        query, key, _ = qkv.unbind(1)  # [P, H, d]

        # the qkv output is captured in front of the rotation
        cos, sin = capture.inputs["attention"][1]["position_embeddings"]
        rotate = private(type(attention).__module__, "apply_rotary_pos_emb_vision")
        rotated: tuple[Tensor, Tensor] = rotate(query, key, cos, sin)
        return rotated

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The patches become a picture, which is resized and cut into patches again."""
        args, kwargs = capture.inputs["tower"]
        patches = args[0] if args else kwargs["hidden_states"]
        tower = base.visual
        merge = tower.spatial_merge_size
        side = base.config.vision_config.patch_size

        frames = frames_of(base, capture)
        h, w = frames[crop]
        unit = merge * merge
        start = unit * sum(rows * columns for rows, columns in frames[:crop])

        # [h * w * unit, channels * t * side * side] -> [1, channels * t, H, W]
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


def frames_of(base: Any, capture: VisionCapture) -> list[tuple[int, int]]:
    """Rows and columns of tokens of each frame of each picture of a call of the tower."""
    merge = base.visual.spatial_merge_size
    grid = capture.on_host.get("grid_thw")
    if grid is None:
        grid = _grid_thw(capture).numpy(force=True)

    frames = []
    for t, h, w in grid.tolist():
        frames += [(h // merge, w // merge)] * t
    return frames


def _grid_thw(capture: VisionCapture) -> Tensor:
    """Frames, rows and columns of patches of each picture, as the tower was given them."""
    args, kwargs = capture.inputs["tower"]
    grid: Tensor = args[1] if len(args) > 1 else kwargs["grid_thw"]
    return grid
