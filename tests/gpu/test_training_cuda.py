"""The bundled model's training on a GPU: stopped, resumed, finished."""

from __future__ import annotations

import pytest
import torch

from transprune.nano.train.recipe import MINIATURE
from transprune.nano.train.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_miniature_trains_on_the_gpu(tmp_path, compiled) -> None:
    told: list[float] = []

    def progress(stage, step, steps, metrics) -> None:
        told.extend(value for name, value in metrics.items() if name == "loss")

    device = torch.device("cuda")
    assert train(MINIATURE, tmp_path, progress, device, stop_after=8, compiled=compiled) is None
    assert (
        train(MINIATURE, tmp_path, progress, device, compiled=compiled) == tmp_path / "checkpoint"
    )
    assert all(loss == loss for loss in told)  # no NaN
