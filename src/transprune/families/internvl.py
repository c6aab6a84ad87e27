"""InternVL 2.5, 3 and 3.5 as transformers has them: 2 x 2 patches of a tile become a token."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from torch import Tensor, nn

from transprune.errors import MissingSignal
from transprune.families.base import TapPoints, VisionCapture, VisionRows, register_family
from transprune.families.depths import layer_at
from transprune.families.merged import Merged, side_by_side, tower_pixels
from transprune.families.tower import resize


@register_family("internvl")
class InternVL(Merged):
    """InternVL: a tower with a CLS token, which is dropped in front of the projector.

    The processor cuts a picture into tiles and adds a small view of the whole. To the model each
    of them is an image, and so it is in `pool="image"`.
    """

    title: ClassVar[str] = "InternVL"

    def has_cls(self, base: Any) -> bool:
        """It always has one."""
        return True

    def tower_attention(self, base: Any, layer: int) -> Any:
        """The attention of one layer of the tower."""
        return base.vision_tower.encoder.layer[layer].attention

    def query_and_key(self, attention: Any) -> tuple[nn.Module, nn.Module]:
        """The norms behind the projections; the 300M tower has identities there, the 6B norms."""
        return attention.q_norm, attention.k_norm

    def merge(self, config: Any) -> int:
        """Two."""
        return round(1 / config.downsample_ratio)

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """Besides, what the tower put out and the projector was given."""
        points = super().vision_tap_points(base, signals)
        inputs = {**points.inputs, "projector": points.projector}
        return TapPoints(inputs, {**points.outputs, "tower": self.tower(base)}, points.projector)

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Whether the projector was given the states of the configuration's layer."""
        return {"fits": (self._expected(base, capture) == _given(capture)).all()[None]}

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Equal tiles.

        Raises:
            MissingSignal: the call chose another layer than the configuration, for which the hooks
                were registered.
        """
        if not capture.on_host["fits"].all():
            raise MissingSignal(
                "the projector was given other states than those of the configuration's "
                "vision_feature_layer; set it in model.config instead of passing it to the call, "
                "or use a method that reads the projected features only, such as DivPrune"
            )
        return super().vision_rows(base, capture)

    def _expected(self, base: Any, capture: VisionCapture) -> Tensor:
        """States of the configuration's layer, as the model hands them to the projector."""
        output: Any = capture.outputs["tower"]
        layer = base.config.vision_feature_layer
        states = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        rows, columns = self._tokens(base, capture)
        return side_by_side(states[:, 1:], rows, columns, self.merge(base.config))

    def _layer(self, base: Any, depth: str) -> int:
        """hidden_states[0] are the embeddings, so hidden_states[i] leaves layer i - 1."""
        layers = int(base.config.vision_config.num_hidden_layers)
        used = max(0, base.config.vision_feature_layer % (layers + 1) - 1)
        return layer_at(depth, used, last=layers - 1)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The resized tile through tower and projector; the tower interpolates its positions."""
        pixels = tower_pixels(capture)
        merge = self.merge(base.config)
        side = base.vision_tower.embeddings.patch_size[0] * merge
        small = resize(pixels[crop : crop + 1], (grid[0] * side, grid[1] * side))

        layer = base.config.vision_feature_layer
        output = base.vision_tower(small, output_hidden_states=layer != -1, return_dict=True)
        states = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        features: Tensor = base.multi_modal_projector(side_by_side(states[:, 1:], *grid, merge))
        return features[0]


def _given(capture: VisionCapture) -> Tensor:
    """What the projector was given, [C, n, V]."""
    args, _ = capture.inputs["projector"]
    states: Tensor = args[0]
    return states
