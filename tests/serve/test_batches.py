"""The queue and the batches: who runs with whom, and what a bad request does to its neighbours."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from serve.conftest import PICTURES, body, load_nano
from transprune.serve.job import Finished, Job, Piece, Sampling
from transprune.serve.limits import Limits
from transprune.serve.metrics import Metrics
from transprune.serve.prepare import Preparer, sampling
from transprune.serve.recipes import Recipes
from transprune.serve.refusal import Refusal
from transprune.serve.request import ChatRequest
from transprune.serve.runner import Runner
from transprune.serve.scheduler import Scheduler

LIMITS = Limits()


class Kitchen:
    """Jobs by hand on one model, without a server."""

    def __init__(self, checkpoint, reuse_bytes=0, offered=("transprune-low",)):
        self.recipes = Recipes(checkpoint, "nano", "transprune-high", offered)
        self.preparer = Preparer(checkpoint, LIMITS)
        self.metrics = Metrics()
        self.runner = Runner(checkpoint, reuse_bytes, self.metrics)

    def job(self, question="what shape is the orange object?", picture=1, **fields):
        request = ChatRequest(**body(question, PICTURES[picture], **fields))
        prepared = self.preparer.prepare(request, self.preparer.turns(request), {})
        events = []
        job = Job(
            recipe=self.recipes.choose(request.model, request.pruning),
            inputs=prepared.inputs,
            pictures=prepared.pictures,
            visual=prepared.visual,
            new_tokens=prepared.new_tokens,
            deadline=time.monotonic() + 60,
            deliver=events.append,
            stops=request.stops,
            sampling=sampling(request),
            stream=bool(request.stream),
        )
        job.events = events
        return job

    def answers(self, *jobs):
        """The texts of jobs that run together."""
        self.runner.run(jobs)
        return [
            job.events[-1].text if isinstance(job.events[-1], Finished) else None for job in jobs
        ]


@pytest.fixture(scope="module")
def model():
    return load_nano()


@pytest.fixture(scope="module")
def kitchen(model):
    return Kitchen(model)


# ---------------------------------------------------------------- a bad request


def test_a_poisoned_request_does_not_take_its_neighbours_with_it(kitchen):
    good = [kitchen.job(), kitchen.job("how many blue objects are there?")]
    alone = [kitchen.answers(kitchen.job())[0]]
    alone += kitchen.answers(kitchen.job("how many blue objects are there?"))

    poisoned = kitchen.job()
    poisoned.inputs["pixel_values"] = poisoned.inputs["pixel_values"][:, :, :50]
    texts = kitchen.answers(good[0], poisoned, good[1])
    assert [texts[0], texts[2]] == alone
    assert isinstance(poisoned.events[-1], Refusal)
    assert kitchen.metrics.registry.get_sample_value("transprune_retried_total") == 3
    assert not any(recipe.session and recipe.session.attached for recipe in kitchen.recipes)


def test_a_failure_in_the_middle_of_streams_repeats_no_text(monkeypatch):
    kitchen = Kitchen(load_nano(endless=True))
    question = {
        "question": "what does the sign read?",
        "picture": 0,
        "stream": True,
        "max_tokens": 20,
    }
    whole = [kitchen.job(**question), kitchen.job(**{**question, "picture": 3})]
    kitchen.runner.run(whole)

    jobs = [kitchen.job(**question), kitchen.job(**{**question, "picture": 3})]
    forward = kitchen.runner._model.lm_head.forward
    calls = []

    def fails_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 10:
            raise RuntimeError("a bit flipped")
        return forward(*args, **kwargs)

    monkeypatch.setattr(kitchen.runner._model.lm_head, "forward", fails_once)
    kitchen.runner.run(jobs)
    assert len(calls) > 20
    for job, expected in zip(jobs, whole, strict=True):
        pieces = [event.text for event in job.events if isinstance(event, Piece)]
        assert "".join(pieces) == job.events[-1].text == expected.events[-1].text


def test_a_request_that_fails_alone_is_an_error_of_the_server(kitchen, monkeypatch, caplog):
    job = kitchen.job()

    def fails(*args, **kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(kitchen.runner._model.lm_head, "forward", fails)
    kitchen.runner.run([job])
    assert job.events[-1].status == 500
    assert "secret" not in job.events[-1].message and "secret detail" in caplog.text


def test_a_gpu_without_memory_is_said(kitchen, monkeypatch):
    job = kitchen.job()

    def fails(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(kitchen.runner._model.lm_head, "forward", fails)
    kitchen.runner.run([job])
    assert (job.events[-1].status, job.events[-1].code) == (503, "out_of_memory")


def test_every_job_gets_one_last_event(kitchen):
    jobs = [kitchen.job(max_tokens=n) for n in (1, 2, 3)]
    jobs[1].cancelled = True
    jobs[2].deadline = 0.0
    kitchen.runner.run(jobs)
    assert [type(event) for event in jobs[0].events] == [Finished]
    assert jobs[1].events == []  # nobody reads it
    assert [event.status for event in jobs[2].events] == [504]


def test_a_short_answer_does_not_wait_for_a_long_one():
    kitchen = Kitchen(load_nano(endless=True))
    long, short = kitchen.job(max_tokens=60), kitchen.job(max_tokens=2)
    order = []
    long.deliver = lambda event: order.append("long")
    short.deliver = lambda event: order.append("short")
    kitchen.runner.run([long, short])
    assert order == ["short", "long"]


# ---------------------------------------------------------------- the queue


class Log:
    """A runner that notes its batches; it starts when it is let go."""

    def __init__(self):
        self.batches = []
        self.free = threading.Event()

    def run(self, jobs):
        self.free.wait(10)
        self.batches.append([job.name for job in jobs])
        if "bad" in self.batches[-1]:
            raise RuntimeError("not even started")
        for job in jobs:
            job.end(Finished("", "stop", None))


def fake(name, recipe, length=10, pictures=("p",)):
    job = Job(
        recipe=SimpleNamespace(name=recipe, key=recipe),
        inputs={"input_ids": torch.zeros(1, length)},
        pictures=pictures,
        visual=1,
        new_tokens=1,
        deadline=time.monotonic() + 30,
        deliver=lambda event: None,
        sampling=Sampling(),
    )
    job.name = name
    return job


def batches(jobs, **limits):
    """The batches that these jobs run in, when all of them wait."""
    log = Log()
    scheduler = Scheduler(log, Limits(**{"gather_seconds": 0.0, **limits}), Metrics())
    scheduler.start()
    scheduler.submit(fake("first", "none"))
    time.sleep(0.05)
    for job in jobs:
        scheduler.submit(job)
    log.free.set()
    scheduler.close(10)
    assert not scheduler.alive
    return log.batches[1:]


def test_requests_of_one_method_run_together_oldest_first():
    jobs = [fake("a1", "a"), fake("b1", "b"), fake("a2", "a"), fake("b2", "b"), fake("a3", "a")]
    assert batches(jobs) == [["a1", "a2", "a3"], ["b1", "b2"]]


def test_the_oldest_never_waits_for_a_stream_of_younger_ones():
    jobs = [fake("b", "b"), *[fake(f"a{n}", "a") for n in range(6)]]
    assert batches(jobs, batch=3)[0] == ["b"]


def test_a_batch_is_bounded_by_requests_and_by_padded_tokens():
    jobs = [fake(str(n), "a") for n in range(5)]
    assert batches(jobs, batch=2) == [["0", "1"], ["2", "3"], ["4"]]
    jobs = [fake("s", "a", 10), fake("m", "a", 30), fake("l", "a", 100), fake("t", "a", 10)]
    assert batches(jobs, batch_tokens=60) == [["s", "m"], ["l"], ["t"]]


def test_requests_without_a_picture_run_apart():
    jobs = [fake("p", "a"), fake("t", "a", pictures=())]
    assert batches(jobs) == [["p"], ["t"]]


def test_those_that_left_or_are_late_do_not_run():
    jobs = [fake("here", "a"), fake("gone", "a"), fake("late", "a")]
    jobs[1].cancelled = True
    jobs[2].deadline = 0.0
    assert batches(jobs) == [["here"]]
    assert jobs[1].over and jobs[2].over


def test_a_batch_that_breaks_does_not_end_the_thread():
    bad = fake("bad", "a")
    events = []
    bad.deliver = events.append
    assert batches([bad, fake("good", "b")]) == [["bad"], ["good"]]
    assert events[0].status == 500


def test_a_request_waits_a_moment_for_others():
    log = Log()
    log.free.set()
    scheduler = Scheduler(log, Limits(gather_seconds=0.3, batch=2), Metrics())
    scheduler.start()
    scheduler.submit(fake("1", "a"))
    time.sleep(0.05)
    assert log.batches == []
    scheduler.submit(fake("2", "a"))  # full, so it does not wait any longer
    time.sleep(0.1)
    assert log.batches == [["1", "2"]]
    scheduler.close(5)
