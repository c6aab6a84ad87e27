"""Towers whose projector makes one token of a square of patches, in raster order.

InternVL, SmolVLM, Idefics 3 and Command A Vision put the states of a square side by side and
project them; Gemma 3 averages them first. What a method reads of the patches of a square is
averaged here, so every token has one value.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from transprune.families.base import Family, Grid, TapPoints, VisionCapture, VisionRows
from transprune.families.depths import depth_of, is_attention, layer_at
from transprune.families.tilings import IN_A_ROW, WHOLE
from transprune.families.tower import grid_places, heads_of, saliency_of

LOOKS = 12  # cells down and across in which tiles are compared with the view of the whole


class Merged(Family):
    """A tower of equal squares, whose patches are merged `merge(base)` by `merge(base)`.

    The features are the states behind the tower's last layer. A subclass names the modules;
    everything else follows from the pixels that the tower was given.

    Attributes:
        tiles: the processor cuts pictures into tiles, which are images of their own here.
    """

    tiles: ClassVar[bool] = True

    # ------------------------------------------------------------------------------ modules

    def projector(self, base: Any) -> nn.Module:
        """The module that merges patches and projects them."""
        projector: nn.Module = base.multi_modal_projector
        return projector

    def tower_attention(self, base: Any, layer: int) -> Any:
        """The attention of one layer of the tower, which has `num_heads`."""
        return self.tower(base).encoder.layers[layer].self_attn

    def query_and_key(self, attention: Any) -> tuple[nn.Module, nn.Module]:
        """The modules of a tower's attention that put out its queries and keys, [C, n, V]."""
        return attention.q_proj, attention.k_proj

    @abstractmethod
    def merge(self, config: Any) -> int:
        """Patches along one side of the square that becomes a token."""

    # ------------------------------------------------------------------------------- inputs

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Every entry of the pixels becomes the same number of tokens."""
        images = len(kwargs["pixel_values"])
        return [total // images] * images if images else []

    def tilings(
        self, base: Any, kwargs: Mapping[str, Any], mask: Tensor, lengths: Sequence[int]
    ) -> list[int]:
        """Images whose placeholders follow each other are the tiles of one picture."""
        if not self.tiles:
            return super().tilings(base, kwargs, mask, lengths)

        slots = mask.numpy().ravel().nonzero()[0]
        ends = np.cumsum(lengths)[:-1]
        # text, or the end of a sample, stands between two pictures
        begins = (slots[ends] - slots[ends - 1] > 1) | (slots[ends] % mask.shape[1] == 0)
        picture = np.concatenate([[0], begins.cumsum()])
        tiles = np.bincount(picture)[picture]
        return np.where(tiles > 1, IN_A_ROW + picture, WHOLE).tolist()

    def crop_looks(self, base: Any, capture: VisionCapture) -> Tensor | None:
        """Where pictures are cut, the pixels of the tower's inputs."""
        if not self.tiles:
            return None
        pixels = tower_pixels(capture).float()
        return torch.nn.functional.adaptive_avg_pool2d(pixels, LOOKS)

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """A square; None for a picture that may have been cut into tiles."""
        side = _side(config.vision_config.image_size) // (_patch(config) * self.merge(config))
        pixels = inputs.get("pixel_values")
        cut = self.tiles and pixels is not None and pixels.shape[:-3].numel() > 1
        if cut or tokens != side**2:
            return None
        return Grid(side, side, cropped=cropped, total=tokens)

    # ------------------------------------------------------------------------ vision signals

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """The tower's pixels, and queries and keys of the layers that are read."""
        outputs = {}
        for depth in {depth_of(name) for name in signals if is_attention(name)}:
            attention = self.tower_attention(base, self._layer(base, depth))
            outputs[f"{depth}query"], outputs[f"{depth}key"] = self.query_and_key(attention)
        return TapPoints({"tower": self.tower(base)}, outputs, self.projector(base))

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every tower input becomes the same number of rows.

        There is no state of its own for a merged row, and none to project for a CLS token.
        """
        rows, columns = self._tokens(base, capture)
        inputs = len(tower_pixels(capture))
        return VisionRows(torch.arange(inputs).repeat_interleave(rows * columns))

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Attention and keys, averaged over the patches of a square; places of the tokens."""
        if not is_attention(name):
            return self._place(base, capture, name)

        depth = depth_of(name)
        attention = self.tower_attention(base, self._layer(base, depth))
        heads = 1 if depth == "outer_" else attention.num_heads  # PruMerge takes all heads as one
        query = heads_of(capture.outputs[f"{depth}query"], heads)  # [C, H, n, d]
        key = heads_of(capture.outputs[f"{depth}key"], heads)

        first = int(self.has_cls(base))
        if name.endswith("keys"):
            return self._of_squares(base, capture, key.float().mean(dim=1)[:, first:])

        scale = key.shape[-1] ** -0.5
        saliency = saliency_of(query, key, scale, self.has_cls(base), name)  # [C, n]
        return self._of_squares(base, capture, saliency[:, first:, None])[:, 0]

    def _layer(self, base: Any, depth: str) -> int:
        """Number of the tower's layer that a signal reads."""
        last = int(base.config.vision_config.num_hidden_layers) - 1
        return layer_at(depth, used=last, last=last)

    def _tokens(self, base: Any, capture: VisionCapture) -> tuple[int, int]:
        """Tokens down and across one tower input."""
        pixels = tower_pixels(capture)
        side = _patch(base.config) * self.merge(base.config)
        return pixels.shape[-2] // side, pixels.shape[-1] // side

    def _of_squares(self, base: Any, capture: VisionCapture, patches: Tensor) -> Tensor:
        """Mean over the patches of each square. [C, n, d] -> [R, d]."""
        rows, columns = self._tokens(base, capture)
        merge = self.merge(base.config)
        squares = patches.unflatten(1, (rows, merge, columns, merge))
        return squares.mean(dim=(2, 4)).flatten(0, 2)

    def _place(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Row and column of every token in its tower input, or the size of that grid. [R, 2]."""
        rows, columns = self._tokens(base, capture)
        places = grid_places(rows, columns)
        if name == "grid":
            places = places.new_tensor([[rows, columns]]).expand_as(places)
        return places.repeat(len(tower_pixels(capture)), 1)


def tower_pixels(capture: VisionCapture) -> Tensor:
    """What the tower was given, [C, 3, H, W]."""
    args, kwargs = capture.inputs["tower"]
    pixels: Tensor = args[0] if args else kwargs["pixel_values"]
    return pixels


def side_by_side(states: Tensor, rows: int, columns: int, merge: int) -> Tensor:
    """States of the patches of each square, joined row by row.

    [1, rows * columns * merge * merge, V] -> [1, rows * columns, merge * merge * V].
    """
    squares = states.unflatten(1, (rows, merge, columns, merge)).transpose(2, 3)
    return squares.flatten(3).flatten(1, 2)


def _side(size: Any) -> int:
    """One number for a square size, which some configurations spell as two."""
    return int(size if isinstance(size, int) else size[0])


def _patch(config: Any) -> int:
    """Pixels along one side of a patch."""
    return _side(config.vision_config.patch_size)
