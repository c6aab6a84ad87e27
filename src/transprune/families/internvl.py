"""InternVL 2.5, 3 and 3.5 as transformers has them, and Qianfan-OCR, which is built like them."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from transprune.families.base import VisionCapture, register_family
from transprune.families.merged import side_by_side, tower_pixels
from transprune.families.merged_layer import MergedLayer
from transprune.families.tower import resize
from transprune.families.without_videos import load_with_or_without_videos


@register_family("internvl")
class InternVL(MergedLayer):
    """InternVL: 2 x 2 patches become a token; the CLS token is dropped in front of the projector.

    The processor cuts a picture into tiles and adds a small view of the whole. To the model each
    of them is an image, and so it is in `pool="image"`.
    """

    title: ClassVar[str] = "InternVL"

    def load_processor(self, place: str) -> Any:
        """Without torchvision one that reads pictures only."""
        return load_with_or_without_videos(place, "InternVLProcessor")

    def has_cls(self, base: Any) -> bool:
        """It always has one."""
        return True

    def tower_attention(self, base: Any, layer: int) -> Any:
        """The attention of one layer of the tower."""
        return base.vision_tower.encoder.layer[layer].attention

    def query_and_key(self, attention: Any) -> tuple[nn.Module, nn.Module]:
        """The norms behind the projections, which do nothing in the 300M tower."""
        return attention.q_norm, attention.k_norm

    def merge(self, config: Any) -> int:
        """Two."""
        return round(1 / config.downsample_ratio)

    def states(self, base: Any, output: Any) -> Tensor | None:
        """The tower's output has its own last norm, hidden states have not."""
        if base.config.vision_feature_layer != -1:
            return super().states(base, output)
        last: Tensor = output.last_hidden_state
        return last

    def given(self, base: Any, capture: VisionCapture, states: Tensor) -> Tensor:
        """The states of a square side by side."""
        rows, columns = self._tokens(base, capture)
        return side_by_side(states[:, 1:], rows, columns, self.merge(base.config))

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The resized tile through tower and projector; the tower interpolates its positions."""
        merge = self.merge(base.config)
        side = base.vision_tower.embeddings.patch_size[0] * merge
        pixels = tower_pixels(capture)[crop : crop + 1]
        small = resize(pixels, (grid[0] * side, grid[1] * side))

        output = base.vision_tower(small, output_hidden_states=True, return_dict=True)
        states = self.states(base, output)
        assert states is not None  # all of them were asked for
        squares = side_by_side(states[:, 1:], *grid, merge)
        features: Tensor = base.multi_modal_projector(squares)
        return features[0]


@register_family("qianfan_ocr")
class QianfanOCR(InternVL):
    """Qianfan-OCR: InternVL's tower and tiles, a Qwen3 text model."""

    title: ClassVar[str] = "Qianfan-OCR"

    def tower_attention(self, base: Any, layer: int) -> Any:
        """The attention of one layer of the tower."""
        return base.vision_tower.layers[layer].attention
