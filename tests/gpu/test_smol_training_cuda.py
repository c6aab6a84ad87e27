"""The second test bed's training on a GPU: pictures drawn by processes, an adapter at the end."""

from __future__ import annotations

import pytest
import torch

from smol.little import little_language, little_tokenizer, little_world
from smol.test_reader import OWN_TEMPLATE, few_dialogues
from transprune.nano.packed import layer_forward
from transprune.smol.adapter import check_adapter
from transprune.smol.train import fitted, home, reader, run
from transprune.smol.train.recipe import LITTLE_READER, MINIATURE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def new_language(folder):
    tokenizer = little_tokenizer()
    tokenizer.chat_template = OWN_TEMPLATE
    return little_language(), tokenizer


def test_a_miniature_trains_on_the_gpu(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fitted, "_SCENES", 2)
    monkeypatch.setattr(reader, "compiled_layer", lambda: layer_forward)
    monkeypatch.setattr(run, "make_dialogues", few_dialogues)
    monkeypatch.setattr(home, "TOWER", MINIATURE)
    monkeypatch.setattr(home, "READER", LITTLE_READER)
    monkeypatch.setattr(home, "load_world", lambda folder: little_world())
    monkeypatch.setattr(home, "load_language", new_language)
    told = []

    def progress(stage, step, steps, metrics) -> None:
        told.append(metrics["loss"])

    device = torch.device("cuda")
    assert home.train_all(tmp_path, progress, device, lambda: False, workers=2)
    assert all(loss == loss for loss in told)  # no NaN
    check_adapter(tmp_path / "adapter")
