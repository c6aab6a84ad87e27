"""A whole training on tiny models of other families, with questions of one's own, and a run with its weights."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from cli import conftest as tiny
from transprune import prune
from transprune.methods.common.recipe import resolve
from transprune.models.answer import prepare
from transprune.models.checkpoint import load
from transprune.training.launch import train_pruner
from transprune.training.plan import TrainPlan

llava_next = tiny.llava_next
qwen = tiny.qwen


@pytest.mark.parametrize("family", ["llava_next", "qwen"])
@pytest.mark.parametrize("method", ["lvpruning", "asymvlm"])
def test_a_training_on_another_family(family, method, tmp_path, request):
    entries = []
    for number in range(3):
        Image.linear_gradient("L").rotate(90 * number).save(tmp_path / f"{number}.png")
        answer = ("red", "blue", "a circle")[number]
        entries.append({"image": f"{number}.png", "question": "what color?", "answer": answer})
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    folder = str(request.getfixturevalue(family))
    plan = TrainPlan(
        out=tmp_path / "out",
        method=method,
        model=folder,
        questions=str(file),
        steps=2,
        batch_size=2,
    )
    notes = []
    trained = train_pruner(plan, lambda *step: None, notes.append)
    assert trained.finished
    assert not notes
    assert all(point["loss"] > 0 for point in trained.training["curve"])

    checkpoint = load(folder)
    inputs = prepare(checkpoint, [Image.open(tmp_path / "0.png")], "what color?")
    with (
        torch.no_grad(),
        prune(checkpoint.model, resolve(f"{method}:weights={tmp_path / 'out'}")) as session,
    ):
        checkpoint.model(**inputs)
    assert len(session.trace.stages[-1].keep[0]) < session.trace.visual_tokens[0]
