"""`pruning_trace`: what each stage kept is what the trace says, and lies where the overlay draws it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from cli.conftest import llava, llava_next, qwen  # noqa: F401
from serve.conftest import PICTURES, body, data_url, load_nano, runner, small, to_bytes, user
from serve.test_batches import Kitchen
from transprune.models.checkpoint import LoadOptions, load
from transprune.report.overlay import find_grid
from transprune.serve.limits import MIB

QUESTION = "what shape is the orange object?"


@pytest.fixture(scope="module")
def run():
    return runner(load_nano())


def kept_of(trace):
    return [sorted(stage.keep[0].tolist()) for stage in trace.stages]


def test_it_is_left_out_unless_it_is_asked_for(live):
    assert "pruning_trace" not in live.post(body()).json()
    assert "pruning_trace" not in live.post(body(pruning_trace=False)).json()
    assert live.post(body(pruning_trace="yes")).status_code == 400


@pytest.mark.parametrize("method", ["transprune-high", "visionzip:keep=64"])
def test_it_is_the_trace_of_run(live, run, method):
    trace = run(QUESTION, 1, method).trace
    # the second question of a method that does not read it goes on from the first's beginning
    for _ in range(2):
        answer = live.post(body(QUESTION, pruning=method, pruning_trace=True)).json()
        told = answer["pruning_trace"]
        assert told["tokens_per_layer"] == list(trace.tokens_per_layer())
        assert told["cached_per_layer"] == list(trace.cached_per_layer())
        assert told["kv_share"] == pytest.approx(trace.cost("exact").kv_share, abs=1e-6)
        assert [stage["boundary"] for stage in told["stages"]] == [s.boundary for s in trace.stages]
        assert told["notes"] == list(trace.notes)
        (picture,) = told["pictures"]
        assert (picture["rows"], picture["columns"], picture["cropped"]) == (12, 12, True)
        assert picture["visual_tokens"] == 144
        assert picture["kept"] == kept_of(trace)


def test_the_unpruned_model_has_no_stages(live):
    told = live.post(body(pruning="unpruned", pruning_trace=True)).json()["pruning_trace"]
    assert told["stages"] == told["pictures"] == []
    assert set(told["tokens_per_layer"]) == {144} and told["kv_share"] == 1.0


def test_a_request_without_a_picture_has_no_tokens(live):
    messages = [{"role": "user", "content": "what is a circle?"}]
    answer = live.post({"model": "nano", "messages": messages, "pruning_trace": True})
    assert set(answer.json()["pruning_trace"]["tokens_per_layer"]) == {0}


def test_a_stream_ends_with_it(live):
    fields = {"stream": True, "stream_options": {"include_usage": True}, "pruning_trace": True}
    events = live.post(body(**fields)).text.strip().split("\n\n")
    parts = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    with_it = [part for part in parts if "pruning_trace" in part]
    assert len(with_it) == 1
    assert with_it[0]["choices"][0]["finish_reason"] == "stop"
    whole = live.post(body(pruning_trace=True)).json()["pruning_trace"]
    assert with_it[0]["pruning_trace"] == whole


def test_in_a_batch_each_request_has_its_own(live, run):
    def told(number):
        return live.post(body(QUESTION, PICTURES[number], pruning_trace=True)).json()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(told, range(6)))
    assert max(answer["usage"]["pruning"]["batch_size"] for answer in answers) > 1
    for number, answer in enumerate(answers):
        kept = answer["pruning_trace"]["pictures"][0]["kept"]
        assert kept == kept_of(run(QUESTION, number, "transprune-high").trace), number


def test_two_pictures_of_a_request_are_told_apart(live):
    messages = user(QUESTION, PICTURES[0], PICTURES[1])
    answer = live.post({"model": "nano", "messages": messages, "pruning_trace": True}).json()
    told = answer["pruning_trace"]
    first, second = told["pictures"]
    assert first["visual_tokens"] == second["visual_tokens"] == 144
    for stage, boundary in enumerate(told["stages"]):
        counts = len(first["kept"][stage]) + len(second["kept"][stage])
        assert counts == told["tokens_per_layer"][boundary["boundary"]]
        assert max(first["kept"][stage] + second["kept"][stage]) < 144


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen"])
def test_it_lies_where_the_overlay_of_this_family_draws_it(request, family):
    folder = request.getfixturevalue(family)
    checkpoint = load(folder, LoadOptions(dtype="float32", device="cpu"))
    kitchen = Kitchen(checkpoint, 16 * MIB, ())
    messages = user("what color is the circle ?", data_url(to_bytes(small("red", (60, 40)))))
    job = kitchen.job(messages=messages, pruning="transprune-high", max_tokens=2)
    job.wants_kept = True
    kitchen.runner.run([job])

    told = job.events[-1].kept
    trace = job.recipe.session.trace
    (picture,) = told["pictures"]
    tokens = trace.visual_tokens[0]
    assert picture["visual_tokens"] == tokens
    assert picture["kept"] == kept_of(trace)
    grid = find_grid(checkpoint.model.config, job.inputs, 0, tokens, cropped=checkpoint.crops)
    assert (picture["rows"], picture["columns"]) == (grid.rows, grid.columns)
    assert picture["cropped"] == grid.cropped


# ---------------------------------------------------------------- nothing used again


def test_without_reuse_everything_is_computed_anew(live):
    # a picture of its own, so that no other test has asked about it
    with Image.open(PICTURES[2]) as image:
        picture = data_url(to_bytes(image.convert("RGB").rotate(90)))
    kinds = [{}, {"reuse": True}, {"reuse": False}, {"reuse": None}]
    answers = [live.post(body(QUESTION, picture, pruning="unpruned", **kind)) for kind in kinds]
    bills = [answer.json()["usage"]["pruning"] for answer in answers]
    assert [bill["reused"] for bill in bills] == ["nothing", "prefill", "nothing", "prefill"]
    texts = {answer.json()["choices"][0]["message"]["content"] for answer in answers}
    assert len(texts) == 1


def test_a_request_without_reuse_leaves_nothing_to_others(live):
    with Image.open(PICTURES[3]) as image:
        picture = data_url(to_bytes(image.convert("RGB").rotate(180)))
    for _ in range(2):
        answer = live.post(body(QUESTION, picture, pruning="transprune-low", reuse=False))
        assert answer.json()["usage"]["pruning"]["reused"] == "nothing"
    answer = live.post(body(QUESTION, picture, pruning="transprune-low"))
    assert answer.json()["usage"]["pruning"]["reused"] == "nothing"


def test_the_bill_says_how_long_the_whole_answer_took(live):
    bill = live.post(body(QUESTION)).json()["usage"]["pruning"]
    assert 0 < bill["queued_seconds"] < bill["first_token_seconds"] < bill["total_seconds"] < 60
