"""The trained modules of a method: found, checked against the model, and put on its device."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from transprune.methods.common.cross_attention import Module
from transprune.methods.common.trained_fit import check_fit, find_weights
from transprune.methods.common.trained_weights import Fit
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import Setup, Signals, Tap

SIGNAL = "module"
DIGESTED = 4  # word embeddings by which a model is known again


class TrainedTap(Tap):
    """Offers the module of each boundary.

    Args:
        modules: boundary -> module, on the CPU.
    """

    def __init__(self, modules: dict[int, Module]) -> None:
        self._modules = modules
        self._there: dict[tuple[int, torch.device], Module] = {}

    @classmethod
    def needed(cls, setup: Setup) -> TrainedTap | None:
        """If some part of the method is trained.

        Raises:
            WeightsError: it has no weights, or those of another model.
        """
        modules: dict[int, Module] = {}
        for step in setup.method.steps:
            if SIGNAL in step.reads.signals:
                modules |= _modules_of(step, setup)
        return cls(modules) if modules else None

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """The module of this boundary, float32 on the device of its rows."""
        if call.index in self._modules:
            module = self._on(call.index, call.hidden.device)
            signals[SIGNAL] = lambda pool: module

    def _on(self, boundary: int, device: torch.device) -> Module:
        """A module on a device, sent there once."""
        key = (boundary, device)
        if key not in self._there:
            own = self._modules[boundary]
            self._there[key] = {name: value.to(device) for name, value in own.items()}
        return self._there[key]


def _modules_of(step: Any, setup: Setup) -> dict[int, Module]:
    """Boundary in this model -> module, of one trained step."""
    boundaries = [reading.boundary for reading in step.reads_at(setup.depth)]
    source = str(getattr(setup.base.config, "_name_or_path", "") or "")
    weights = find_weights(step.name, step.weights, source)
    check_fit(weights, fit_of(step, setup.base, setup.depth), boundaries)
    return {setup.moved(boundary): weights.modules[boundary] for boundary in boundaries}


def fit_of(step: Any, base: Any, depth: int) -> Fit:
    """What a trained method needs of weights for a model, from its base and depth."""
    table = base.get_input_embeddings().weight
    return Fit.of(step, base.config.model_type, table.shape[1], depth, _digest(table))


def _digest(table: Tensor) -> str:
    """16 hex digits of the first word embeddings [V, D], equal for every dtype they are loaded in.

    Empty for a model of shapes alone.
    """
    if table.is_meta:
        return ""
    first = table[:DIGESTED].detach().to("cpu", torch.bfloat16)
    return hashlib.sha256(first.view(torch.int16).numpy().tobytes()).hexdigest()[:16]
