"""Random weights for the trained methods, of the sizes of the tiny models; written once in a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch

from transprune.methods import AsymVLM, LVPruning
from transprune.methods.common.cross_attention import draw_module
from transprune.methods.common.trained_weights import Fit, TrainedWeights, save_weights

WIDTH, LAYERS = 64, 8  # of every tiny model
KINDS = {"lvpruning": LVPruning, "asymvlm": AsymVLM}


def draw_weights(
    name: str,
    width: int = WIDTH,
    layers: int = LAYERS,
    model_type: str | None = None,
    seed: int = 0,
) -> TrainedWeights:
    """Random weights with a module at every boundary."""
    fit = Fit.of(KINDS[name], model_type, width, layers)
    generator = torch.Generator().manual_seed(seed)
    modules = {
        boundary: draw_module(width, fit.inner, fit.outputs, generator)
        for boundary in range(layers if name == "lvpruning" else 1)
    }
    return TrainedWeights(fit, modules)


@cache
def weights_for(name: str) -> str:
    """A folder of such weights, for any model of this width and depth."""
    folder = Path(tempfile.mkdtemp(prefix="transprune-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(save_weights(folder / name, draw_weights(name), torch.float32))
