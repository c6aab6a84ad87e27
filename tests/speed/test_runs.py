"""The runs that are timed do what they are named after: the same tokens as `generate`."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from transprune import prune
from transprune.speed.clocks import clock_of
from transprune.speed.model import build_inputs, build_model
from transprune.speed.runs import Bench, decode, prefill, time_generate, time_prefill
from transprune.speed.shapes import find_shape

TINY = ("llava-1.5-tiny", "llava-next-tiny", "qwen2.5-vl-tiny")


@pytest.fixture(scope="module", params=TINY)
def bench(request):
    shape = find_shape(request.param)
    return Bench(build_model(shape), build_inputs(shape, batch=2), clock_of("cpu"))


@torch.no_grad()
@pytest.mark.parametrize("method", [None, "transprune-high", "visionzip:keep=0.5+fastv"])
def test_the_steps_after_a_prefill_are_those_of_generate(bench, method):
    session = prune(bench.model, method) if method else nullcontext()
    with session:
        expected = bench.model.generate(**bench.inputs, max_new_tokens=6, do_sample=False)
        found = decode(bench, prefill(bench), 6)
    assert torch.equal(found, expected[:, bench.inputs["input_ids"].shape[1] :])


def test_a_timed_run_leaves_the_model_unpruned(bench):
    session = prune(bench.model, "fastv")
    with torch.no_grad():
        before = prefill(bench).logits
    assert time_prefill(bench, session)["prefill"] > 0
    assert time_generate(bench, session, [1, 3])["per_token"] > 0

    assert not session.attached
    with torch.no_grad():
        assert torch.equal(prefill(bench).logits, before)


def test_an_answer_of_one_token_has_no_time_per_token(bench):
    assert set(time_generate(bench, None, [1])) == {"answer_1"}
