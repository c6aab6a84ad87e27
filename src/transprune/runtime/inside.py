"""Cuts inside a layer: tokens are chosen behind its attention, and the rest of it runs without them.

The layer's output projection and its MLP are given the rows that stay. What they return is put back
among zeros, so that the layer adds and normalises rows in the number it expects; the boundary behind
it then drops the others. The rows that stay get the values they would get in a layer that runs on all
rows: neither module lets tokens meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import gather_rows
from transprune.core.plan import Reading, inside_layers
from transprune.errors import MethodError, MissingSignal
from transprune.families.layers import MLPS, OUTPUTS, LayerKind
from transprune.runtime.boundaries import Boundaries
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import Setup

INSIDE = "inside"  # (0-based layer, the rows that stay) of the layer that runs now
WHOLE_LAYERS = (
    "gradient checkpointing runs layers again outside of the pass, so tokens are dropped behind each "
    "layer and not inside it; the work counted here leaves that out"
)


@dataclass(frozen=True)
class Staying:
    """The rows that stay in the layer that runs now.

    Attributes:
        layer: 0-based decoder layer.
        index: long [B, P], their row numbers; None where all of them stay.
        total: rows that entered the layer.
    """

    layer: int
    index: Tensor | None
    total: int


class InsideCuts:
    """Chooses inside the layers that the readings of the method name.

    Raises:
        MissingSignal: such a layer lacks a module that would run on fewer rows.
        MethodError: a reading that needs a layer in front of it and does not read that one.
    """

    def __init__(self, setup: Setup, boundaries: Boundaries) -> None:
        frozen = setup.method.frozen(setup.depth)
        for reading in setup.readings.values():
            _check_reading(reading)
        self._inside = inside_layers(setup.readings.values(), frozen)
        self._layers: Sequence[Any] = setup.layers
        self._kinds = setup.kinds
        self._boundaries = boundaries
        for layer in self._inside:
            _check_modules(self._kinds[layer], layer)

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks around the two modules of each such layer."""
        for layer in self._inside:
            kind = self._kinds[layer]
            for module in (kind.output, kind.mlp):
                hooks.pruning.before(module, partial(self._shorten, hooks, layer))
                hooks.pruning.after(module, partial(self._put_back, hooks, layer))

    def _shorten(
        self, hooks: Hooks, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Give a module the rows that stay. [B, L, W] -> [B, P, W]."""
        state = hooks.running()
        if state is None or state.layout is None or state.cut:
            return None
        if _is_checkpointed(self._layers[layer]):
            state.record.note(WHOLE_LAYERS)
            return None

        rows: Any = args[0] if args else None
        if not _is_of_layer(rows, state.layout.rows_total):
            raise MissingSignal(
                f"this method drops tokens inside decoder layer {layer}, whose "
                f"{type(module).__name__} is not given its rows as [batch, rows, width]"
            )

        staying = self._staying(state, layer, rows)
        if staying.index is None:
            return None
        return (gather_rows(rows, staying.index), *args[1:]), kwargs

    def _put_back(self, hooks: Hooks, layer: int, module: nn.Module, args: Any, output: Any) -> Any:
        """Rows in the number the layer expects. [B, P, D] -> [B, L, D]."""
        state = hooks.running()
        staying = None if state is None else state.captured.get(INSIDE)
        if staying is None or staying.layer != layer or staying.index is None:
            return None
        if isinstance(output, tuple):  # experts return what their router said beside the rows
            return (spread(output[0], staying), *output[1:])
        return spread(output, staying)

    def _staying(self, state: Pass, layer: int, rows: Tensor) -> Staying:
        """The rows that stay; chosen in front of the first of the two modules."""
        # both modules of a layer need the same rows, and choosing again would be another stage
        known = state.captured.get(INSIDE)
        if isinstance(known, Staying) and known.layer == layer:
            return known

        # the stage belongs to the boundary behind this layer, whose rows are not computed yet
        behind = layer + 1
        call = LayerCall(
            behind,
            self._layers[behind],
            self._kinds[behind],
            rows,
            {"past_key_values": state.cache},
        )

        index = self._boundaries.choose(state, call)
        staying = Staying(layer, index, rows.shape[1])
        state.captured[INSIDE] = staying
        return staying


def spread(rows: Tensor, staying: Staying) -> Tensor:
    """The rows [B, P, D] at their places among zeros. -> [B, L, D]."""
    assert staying.index is not None
    batch, _, width = rows.shape
    full = rows.new_zeros(batch, staying.total, width)
    # takes one index per row, where scatter needs one per number
    if batch == 1:
        return full.index_copy(1, staying.index[0], rows)
    return full.scatter(1, staying.index[..., None].expand_as(rows), rows)


def _is_of_layer(rows: Any, total: int) -> bool:
    """Whether they are all rows of the layer, [B, L, W]."""
    return isinstance(rows, Tensor) and rows.ndim == 3 and rows.shape[1] == total


def _is_checkpointed(layer: Any) -> bool:
    """Whether this layer will run once more for its gradients, then without a pass."""
    checkpoints = getattr(layer, "gradient_checkpointing", False) and layer.training
    return bool(checkpoints) and torch.is_grad_enabled()


def _check_reading(reading: Reading) -> None:
    fits = reading.boundary > 0 and (reading.rows is None or reading.source == "previous")
    if reading.inside and not fits:
        raise MethodError(
            "a choice inside a layer is made behind its attention, so it needs a boundary from 1 on "
            f'and source="previous"; got boundary {reading.boundary}, source={reading.source!r}'
        )


def _check_modules(kind: LayerKind, layer: int) -> None:
    for module, names in ((kind.output, OUTPUTS), (kind.mlp, MLPS)):
        if module is None:
            raise MissingSignal(
                f"this method drops tokens inside decoder layer {layer}, in front of a module that "
                f"is not there under a known name ({', '.join(names)})"
            )
