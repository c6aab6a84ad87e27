"""What the benchmark of the overhead is made of: its clock, its prompts, and what it counts."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from transprune import TransPrune, prune

# the benchmark belongs to the repository, not to the package
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.overhead.model import PAD, Shape, build_inputs, build_model, padded_share
from benchmarks.overhead.operations import count_operations, most_added
from benchmarks.overhead.own_time import MODEL, _watched, own_time
from benchmarks.overhead.reference import reference
from benchmarks.overhead.runs import decode_step, prefill, pruned_prefill
from benchmarks.overhead.timing import Contender, paired, ratio

# deep enough for every boundary of TransPrune-High
SMALL = Shape(layers=14, hidden=32, intermediate=32, heads=2, grid=4)


@pytest.fixture(scope="module")
def small():
    return build_model(SMALL, torch.float32)


@pytest.fixture(scope="module")
def prompt():
    return build_inputs(SMALL, torch.float32)


# ------------------------------------------------------------------------------------------- timing


def test_every_contender_runs_once_per_round_in_changing_order():
    ran = []
    group = {name: Contender(partial(ran.append, name)) for name in "abc"}
    times = paired([group], rounds=8)

    assert {name: len(values) for name, values in times.items()} == {"a": 8, "b": 8, "c": 8}
    rounds = ["".join(ran[start : start + 3]) for start in range(3, len(ran), 3)]
    assert len(rounds) == 8 and all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1


def test_contexts_are_entered_outside_the_clock():
    entered = []

    @contextmanager
    def slow():
        entered.append(True)
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        yield

    ran = []
    times = paired([{"a": Contender(lambda: ran.append(True), slow)}], rounds=2, calls=3)
    assert len(entered) == 3  # an uncounted round and two
    assert len(ran) == 1 + 2 * (1 + 3)
    assert max(times["a"]) < 0.01


def test_ratios_of_medians_and_of_minima():
    times = {"a": [3.0, 30.0, 4.0], "b": [2.0, 3.0, 2.0]}
    figures = ratio(times, "a", "b")
    assert figures["ratio"] == 2.0
    assert figures["minima"] == 1.5
    assert figures["low"] == 1.75 and figures["high"] == 6.0


# ------------------------------------------------------------------------------- models and prompts


def test_prompts_are_padded_on_the_left():
    inputs = build_inputs(SMALL, torch.bfloat16, after=[4, 6], pictures=[2, 1])
    lengths = [8 + 4 + 32, 8 + 6 + 16]

    assert inputs["attention_mask"].sum(dim=1).tolist() == lengths
    assert inputs["input_ids"].shape == (2, 44)
    assert (inputs["input_ids"][1, :14] == PAD).all()
    assert inputs["pixel_values"].shape == (3, 3, 16, 16)
    assert inputs["pixel_values"].dtype == torch.bfloat16
    assert padded_share(lengths) == pytest.approx(14 / 88)


def test_the_reference_without_a_boundary_is_the_model(small, prompt):
    inputs = {name: value for name, value in prompt.items() if name != "attention_mask"}
    session = prune(small, "visionzip:keep=1.0")
    pruned_prefill(small, inputs, session)

    run = reference(small, SMALL, inputs, session.trace)
    torch.testing.assert_close(run(), prefill(small, inputs).logits)


def test_the_reference_keeps_as_many_rows(small, prompt):
    session = prune(small, TransPrune.high())
    pruned_prefill(small, prompt, session)
    operations = count_operations(reference(small, SMALL, prompt, session.trace))

    # each boundary takes rows of the hidden states, of cos and of sin
    assert operations["index_select"] == 3 * len(session.trace.stages)


def test_a_decode_step_leaves_the_cache_as_it_was(small, prompt):
    session = prune(small, TransPrune.high())
    step = decode_step(small, prompt, session)
    with session:
        first = count_operations(step)
        assert count_operations(step) == first
    assert decode_step(small, prompt)() is None


# --------------------------------------------------------------------------- operations and own time


def test_views_and_allocations_are_no_operations():
    x = torch.ones(3, 4)

    def run():
        x.view(4, 3).t().detach()[1:].unsqueeze(0)
        torch.empty(5)
        torch.empty_like(x)
        torch.ones(2, 0) + 1
        (x + 1).add_(2)
        x.sum()

    counts = count_operations(run)
    assert counts == Counter({"add": 1, "add_": 1, "sum": 1})
    assert most_added(counts, Counter({"add": 1})) == "add_ +1, sum +1"


def test_no_time_is_ours_in_an_unpruned_run(small, prompt):
    assert own_time(partial(prefill, small, prompt), 1) == {}


def test_time_in_the_files_of_the_package(small, prompt):
    session = prune(small, TransPrune.high())
    run = partial(pruned_prefill, small, prompt, session)
    run()
    watch = _watched(run)

    # layers are the model's, also between hooks; the maths of the method is ours
    assert watch.python_calls["methods/transprune.py"] > 0
    assert watch.python_calls["session.py"] > 0
    assert watch.raw[MODEL] > 0
    assert sys.getprofile() is None
    assert set(own_time(run, 1)) <= set(watch.raw)


def test_a_layer_called_by_our_code_is_not_ours(small):
    # a function that looks as if it were in session.py
    names: dict = {}
    exec(compile("def call(f): return f()", prune.__code__.co_filename, "exec"), names)

    layer = small.model.language_model.layers[0]
    hidden = torch.ones(1, 2, 32)
    with torch.no_grad():
        of_mlp = _watched(lambda: names["call"](lambda: layer.mlp(hidden)))
        of_norm = _watched(lambda: names["call"](lambda: layer.input_layernorm(hidden)))

    # an MLP runs for the model wherever it is called from, a norm for its caller
    assert of_mlp.python_calls["session.py"] > 0
    assert of_mlp.python_calls[MODEL] > 3
    assert of_norm.python_calls["session.py"] > 3
    assert of_norm.python_calls[MODEL] == 1  # the lambda that is watched
