"""Reading attention at a boundary, and not computing twice what was computed for it.

A method that reads the layer *behind* its boundary has that layer's normalised input and its keys computed for every
token, before the layer runs on the survivors only. Their rows of both are handed to the layer: its own modules are then
given no row at all. A method that reads the layer *in front* listens to what that layer projects anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import gather_rows
from transprune.core.plan import Reading
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs import (
    LayerCall,
    history_of,
    nothing_to_do,
    pass_through,
    project_rows,
)
from transprune.runtime.taps.attention.rows import AttentionRows, NextLayer, PreviousLayer

Register = Callable[..., None]
Running = Callable[[], "Pass | None"]


class AttentionReader:
    """Gives the stages of one engine the attention rows they announce in their readings."""

    def __init__(
        self, layers: Sequence[Any], readings: Mapping[int, Reading], rotary: nn.Module | None
    ) -> None:
        self._layers, self._rotary = layers, rotary
        self._readings = {
            boundary: reading for boundary, reading in readings.items() if reading.rows
        }

    def attach(self, before: Register, after: Register, running: Running) -> None:
        """Register the taps; `running` gives the pass of the calling thread."""
        for boundary, reading in self._readings.items():
            if reading.source == "previous":
                index = boundary - 1
                attention = self._layers[index].self_attn
                before(attention, partial(_keep_embeddings, index, running))
                for name in ("q_proj", "k_proj"):
                    if (module := getattr(attention, name, None)) is not None:
                        after(module, partial(_keep_output, (index, name), running))
            else:
                layer = self._layers[boundary]
                for owner, name in ((layer, "input_layernorm"), (layer.self_attn, "k_proj")):
                    if (module := getattr(owner, name, None)) is not None:
                        before(module, partial(_skip, (boundary, name), running))
                        after(module, partial(_hand_over, (boundary, name), running))

    def read(self, state: Pass, call: LayerCall) -> tuple[AttentionRows | None, NextLayer | None]:
        """Attention over the rows that arrive at a boundary, and what was computed ahead for the layer behind it."""
        reading = self._readings.get(call.index)
        if reading is None:
            return None, None
        if reading.source == "previous":
            index = call.index - 1
            heard = [state.taps.pop((index, name)) for name in ("q_proj", "k_proj", "embeddings")]
            if (
                state.entered is not None and state.entered[0] == index
            ):  # frozen: it projected only some of its rows
                _, hidden, embeddings = state.entered
                return self._rows(
                    state, call, index, NextLayer(self._layers[index], hidden), embeddings
                ), None
            return self._rows(state, call, index, PreviousLayer(heard[0], heard[1]), heard[2]), None
        kwargs = (
            call.kwargs if nothing_to_do(state, call) else pass_through(state, call, self._rotary)
        )
        ahead = NextLayer(call.layer, call.hidden)
        return self._rows(state, call, call.index, ahead, kwargs["position_embeddings"]), ahead

    def _rows(
        self,
        state: Pass,
        call: LayerCall,
        index: int,
        projector: NextLayer | PreviousLayer,
        embeddings: tuple[Tensor, Tensor],
    ) -> AttentionRows:
        layer = self._layers[index]
        there = LayerCall(index, layer, call.hidden, call.kwargs)
        history = history_of(state, there, stored_already=index < call.index)
        projection = project_rows(state, there, history)
        mask = call.kwargs.get("attention_mask")
        return AttentionRows(layer.self_attn, projector, embeddings, projection, mask, history.keys)


def keep_ready(state: Pass, call: LayerCall, ahead: NextLayer, index: Tensor) -> None:
    """Keep the surviving rows `index` [B, P] of what was computed ahead, for the layer that runs now."""
    if (
        torch.is_grad_enabled()
    ):  # a checkpointed layer runs again later and must compute the same shapes then
        return
    state.ready[call.index, "input_layernorm"] = gather_rows(ahead.normalised, index)
    if (
        type(call.layer.self_attn.k_proj) is nn.Linear
    ):  # LoRA or quantised layers may not take zero rows
        state.ready[call.index, "k_proj"] = gather_rows(ahead.keys(), index)


def _keep_embeddings(
    index: int, running: Running, module: nn.Module, args: Any, kwargs: dict[str, Any]
) -> None:
    if (state := running()) is not None and state.layout is not None:
        state.taps[index, "embeddings"] = kwargs["position_embeddings"]


def _keep_output(
    key: tuple[int, str], running: Running, module: nn.Module, args: Any, output: Tensor
) -> None:
    if (state := running()) is not None and state.layout is not None:
        state.taps[key] = output


def _skip(
    key: tuple[int, str], running: Running, module: nn.Module, args: Any, kwargs: dict[str, Any]
) -> Any:
    state = running()
    return ((args[0][:, :0],), kwargs) if state is not None and key in state.ready else None


def _hand_over(
    key: tuple[int, str], running: Running, module: nn.Module, args: Any, output: Tensor
) -> Tensor | None:
    state = running()
    return None if state is None else state.ready.pop(key, None)
