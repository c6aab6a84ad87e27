"""Measuring points for break-even: the bundled model, shapes, and what is left out."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from transprune.errors import BenchError, CheckpointError, UnknownFamily
from transprune.models.checkpoint import LoadOptions
from transprune.speed import points, subjects
from transprune.speed.points import LEAST, measure_points
from transprune.speed.subjects import find_subject

CPU = LoadOptions(device="cpu")


@pytest.fixture(scope="module")
def nano():
    return find_subject("nano", CPU)


@pytest.fixture(scope="module")
def llava():
    return find_subject("llava-1.5-tiny", CPU)


@pytest.fixture(scope="module")
def shape():
    return find_subject("qwen2.5-vl-tiny", CPU)


@pytest.mark.slow
def test_the_bundled_model_is_measured_with_its_own_prompts(nano, monkeypatch):
    monkeypatch.setattr(points, "PLAN", ((1, 1), (2, 3)))
    found, left_out = measure_points(nano, ["fastv", "transprune-nano"], seconds=120)

    assert left_out == []
    assert [(point.visual_tokens, point.batch) for point in found] == [(144, 1), (288, 3)]
    for point in found:
        assert set(point.samples) == {"unpruned", "fastv", "transprune-nano"}
        assert point.failures == {}
        for rounds in point.samples.values():
            assert len(rounds) >= LEAST
            assert all(times["prefill"] > 0 and times["per_token"] > 0 for times in rounds)


def test_a_shape_has_random_weights(shape, monkeypatch):
    monkeypatch.setattr(points, "PLAN", ((3, 2),))
    found, left_out = measure_points(shape, ["fastv"], seconds=60)
    assert shape.random_weights and left_out == []
    assert (found[0].visual_tokens, found[0].batch, found[0].prompt_tokens) == (108, 2, 132)


def test_a_prompt_that_is_too_long_is_left_out(nano, monkeypatch):
    monkeypatch.setattr(points, "PLAN", ((4, 1),))
    found, left_out = measure_points(nano, ["fastv"], seconds=60)
    assert found == []
    assert "is longer than this model can read" in left_out[0].reason


def test_a_method_that_the_model_cannot_run_leaves_the_others(llava, monkeypatch):
    """CDPruner reads the text half of a CLIP, and a shape has none."""
    monkeypatch.setattr(points, "PLAN", ((1, 1),))
    found, _ = measure_points(llava, ["cdpruner", "fastv"], seconds=60)
    assert set(found[0].samples) == {"unpruned", "fastv"}
    assert found[0].failures["cdpruner"].kind == "not supported"


def test_without_any_method_a_point_has_a_reason(llava, monkeypatch):
    monkeypatch.setattr(points, "PLAN", ((1, 1),))
    found, left_out = measure_points(llava, ["cdpruner"], seconds=60)
    assert found == []
    assert left_out[0].reason.startswith("cdpruner: ")


def test_points_beyond_the_time_are_left_out(shape, monkeypatch):
    monkeypatch.setattr(points, "PLAN", ((1, 1), (1, 2)))
    found, left_out = measure_points(shape, ["fastv"], seconds=0)
    assert found == []
    assert [left.reason for left in left_out] == ["no time was left"] * 2

    # a clock of our own, so that no machine is too slow to ask what a run would take
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 0.01 * next(ticks))
    monkeypatch.setattr(points, "time", clock)
    found, left_out = measure_points(shape, ["fastv"], seconds=0.05)
    assert found == []
    assert left_out[0].reason.startswith("it would take ")


def test_a_point_larger_than_one_that_was_too_slow_is_not_tried(shape, monkeypatch):
    real = points.time_prefill_and_decode
    batches = []

    def slow(bench, session, steps):
        """As if every run had taken 100 seconds."""
        batches.append(len(bench.inputs["input_ids"]))
        real(bench, session, steps)
        return {"prefill": 96.0, "per_token": 1.0}

    monkeypatch.setattr(points, "time_prefill_and_decode", slow)
    monkeypatch.setattr(points, "PLAN", ((1, 1), (1, 4)))
    found, left_out = measure_points(shape, ["fastv"], seconds=60)
    assert [point.batch for point in found] == [1]
    assert set(batches) == {1}
    # a first run of the method, and six rounds of two runs
    assert left_out[0].reason.startswith("it would take 1300 s or more, and ")


def test_a_shape_larger_than_the_memory_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(subjects, "free_bytes", lambda device: 8 * 2**30)
    monkeypatch.setattr(subjects, "build_model", lambda *_: pytest.fail("it was built"))
    with pytest.raises(BenchError, match=r"LLaVA-1.5-7B in float32 needs 26.3 GiB .* 8.0 GiB are"):
        find_subject("llava-1.5-7b", CPU)


def test_a_shape_too_slow_for_the_time_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(subjects, "free_bytes", lambda device: None)
    monkeypatch.setattr(subjects, "matmul_speed", lambda *_: 1e10)
    monkeypatch.setattr(subjects, "build_model", lambda *_: pytest.fail("it was built"))
    # 8.5 TFLOPs at 10 GFLOPs a second
    with pytest.raises(BenchError, match=r"takes 8\d\d s or more on cpu here.*--budget-seconds"):
        find_subject("llava-1.5-7b", CPU, seconds=60)


def test_free_memory_is_read_from_the_system():
    free = subjects.free_bytes("cpu")
    assert free is None or 2**20 < free < 2**50


def test_the_speed_of_a_product_is_that_of_a_machine():
    import torch

    assert 1e8 < subjects.matmul_speed("cpu", torch.float32) < 1e15


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("nothing", UnknownFamily, "no folder and no hub id"),
        ("./nothing/here", UnknownFamily, "no folder and no hub id"),
        ("nobody/nothing-here", CheckpointError, "the hub returned no such model"),
    ],
)
def test_nothing_to_measure(source, error, words):
    with pytest.raises(error, match=words):
        find_subject(source, CPU)
