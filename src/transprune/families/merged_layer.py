"""Towers whose patches are merged, of which the configuration chooses the layer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.base import TapPoints, VisionCapture, VisionRows
from transprune.families.depths import layer_at
from transprune.families.merged import Merged


class MergedLayer(Merged):
    """A merged tower with a `vision_feature_layer`, which a call may override.

    The hooks are registered for the configuration's layer, so that another one is refused.
    """

    def given(self, base: Any, capture: VisionCapture, states: Tensor) -> Tensor:
        """States of a layer [C, n, V] as the model hands them to the projector."""
        return states

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """Besides, what the tower put out and the projector was given."""
        points = super().vision_tap_points(base, signals)
        inputs = {**points.inputs, "projector": points.projector}
        return TapPoints(inputs, {**points.outputs, "tower": self.tower(base)}, points.projector)

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Whether the projector was given the states of the configuration's layer."""
        args, _ = capture.inputs["projector"]
        states = self.states(base, capture.outputs["tower"])
        if states is None:  # the tower keeps those of the chosen layers only
            return {"fits": torch.zeros(1, dtype=torch.bool)}
        return {"fits": (self.given(base, capture, states) == args[0]).all()[None]}

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Equal tower inputs.

        Raises:
            MissingSignal: the call chose another layer than the configuration.
        """
        if not capture.on_host["fits"].all():
            raise MissingSignal(
                "the projector was given other states than those of the configuration's "
                "vision_feature_layer; set it in model.config instead of passing it to the call, "
                "or use a method that reads the projected features only, such as DivPrune"
            )
        return super().vision_rows(base, capture)

    def states(self, base: Any, output: Any) -> Tensor | None:
        """States of the configuration's layer in an output of the tower, [C, n, V], if it has them."""
        states: Tensor | None = output.hidden_states[base.config.vision_feature_layer]
        return states

    def _layer(self, base: Any, depth: str) -> int:
        """hidden_states[0] are the embeddings, so hidden_states[i] leaves layer i - 1."""
        layers = int(base.config.vision_config.num_hidden_layers)
        used = max(0, base.config.vision_feature_layer % (layers + 1) - 1)
        return layer_at(depth, used, last=layers - 1)
