"""Random weights of the trained methods for the model that is timed: time does not depend on them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch

from transprune.methods.common.cross_attention import draw_module
from transprune.methods.common.recipe import METHODS
from transprune.methods.common.trained_weights import Fit, TrainedWeights, save_weights

from .model import BENCH


@cache
def weights_folder(name: str) -> str:
    """A folder of weights for `BENCH`, removed when the process ends."""
    fit = Fit.of(METHODS.get(name), None, BENCH.hidden, BENCH.layers)
    generator = torch.Generator().manual_seed(0)
    modules = {
        boundary: draw_module(fit.width, fit.inner, fit.outputs, generator)
        for boundary in range(BENCH.layers)
    }

    folder = Path(tempfile.mkdtemp(prefix="transprune-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(save_weights(folder / name, TrainedWeights(fit, modules)))
