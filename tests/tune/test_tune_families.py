"""A search on tiny models of other families: several tiles, M-RoPE, questions of one's own."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from cli import conftest as tiny
from transprune.core import strict_json
from transprune.tune.launch import tune
from transprune.tune.plan import Plan

llava_next = tiny.llava_next
qwen = tiny.qwen


@pytest.mark.parametrize("family", ["llava_next", "qwen"])
@pytest.mark.parametrize("loss", ["kl", "last-token"])
def test_a_search_on_another_family(family, loss, tmp_path, request):
    entries = []
    for number in range(3):
        Image.linear_gradient("L").rotate(90 * number).save(tmp_path / f"{number}.png")
        entries.append({"image": f"{number}.png", "question": "what color is the circle?"})
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    plan = Plan(
        out=tmp_path / "out",
        budget="0.8",
        model=str(request.getfixturevalue(family)),
        questions=str(file),
        methods=("transprune", "divprune+transprune"),
        loss=loss,
        trials=4,
        answer_tokens=2,
    )
    found = tune(plan, lambda *step: None, lambda note: None)

    assert found.best.cost == pytest.approx(0.8, abs=0.011)
    assert 0 <= found.best.loss < 1
    assert len(found.held_out) == 3
    assert 0 <= found.held_out[0].same.value <= 100
    data = strict_json.read((tmp_path / "out" / "tune.json").read_bytes())
    assert data["loss"] == loss
    if family == "qwen":
        # M-RoPE positions cannot be renumbered
        steps = found.best.method.steps
        assert all(step.positions is None for step in steps)
