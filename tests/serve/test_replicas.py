"""Several replicas behind a front: the guard and the limits in front of them, streams through them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from importlib.util import find_spec

import httpx2
import pytest
import uvicorn
from openai import OpenAI

from batch.test_ray import MARK, kill_all, processes
from serve.conftest import LIMITS, body
from transprune.models.checkpoint import LoadOptions
from transprune.serve.limits import Limits
from transprune.serve.replicas.front import Front, build_front
from transprune.serve.replicas.replica import Replica, Spec
from transprune.serve.server import Settings, bind


class Here:
    """Replicas in this process, without Ray: what the front sees is the same."""

    def __init__(self, *replicas):
        self.replicas = replicas
        self.next = 0
        self.dead = False
        self.paths = []

    async def answer(self, method, path, body):
        self.paths.append(path)
        if self.dead:
            raise RuntimeError("ActorDiedError")
        self.next = (self.next + 1) % len(self.replicas)
        async for message in self.replicas[self.next].answer(method, path, body):
            yield message

    async def alive(self):
        return not self.dead


class Live:
    """A front that runs in a thread of this process."""

    def __init__(self, replicas, limits=LIMITS, tokens=()):
        self.front = Front(replicas, limits, 1)
        app = build_front(self.front, tokens)
        config = uvicorn.Config(app, log_config=None, ws="none", access_log=False)
        self.server = uvicorn.Server(config)
        self.socket = bind("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()

    def get(self, path, **headers):
        return httpx2.get(self.address + path, headers=headers, timeout=60, trust_env=False)

    def post(self, content=None, **headers):
        url = f"{self.address}/v1/chat/completions"
        given = {"json": body()} if content is None else {"content": content}
        return httpx2.post(url, headers=headers, timeout=60, trust_env=False, **given)


@pytest.fixture(scope="module")
def replica():
    spec = Spec("nano", LoadOptions(device="cpu"), "nano", "transprune-high", None, Settings(), 1)
    made = Replica(spec)
    yield made
    made._service.close(5)


@pytest.fixture
def live(replica):
    made = Live(Here(replica))
    yield made
    made.stop()


def test_answers_and_streams_are_those_of_a_server(live):
    whole = live.post().json()
    assert whole["choices"][0]["message"]["content"] == "star"
    assert whole["usage"]["pruning"]["method"] == "transprune-high"

    with OpenAI(base_url=f"{live.address}/v1", api_key="none", max_retries=0) as client:
        assert "nano@transprune-low" in [model.id for model in client.models.list()]
        stream = client.chat.completions.create(**body(), stream=True)
        parts = [part.choices[0].delta.content or "" for part in stream if part.choices]
    assert "".join(parts) == "star" and len(parts) > 1


def test_the_guard_and_the_limits_stand_in_front_of_the_replicas(replica):
    limits = Limits(body_bytes=2_000)
    here = Here(replica)
    live = Live(here, limits, ("secret",))
    try:
        assert live.post().status_code == 401
        assert live.get("/v1/models").status_code == 401
        assert live.get("/openapi.json").status_code == 401
        assert live.get("/health").status_code == 200
        assert live.get("/").status_code == 200  # the page asks for the token
        assert live.get("/v1/pruning").status_code == 401
        authorised = {"Authorization": "Bearer secret"}
        too_large = live.post(b" " * 3_000, **authorised, **{"Content-Type": "application/json"})
        assert too_large.status_code == 413
        assert live.post(b"{}", **authorised, **{"Content-Type": "text/plain"}).status_code == 415
        assert here.paths == []  # nothing of it reached a replica
        assert live.get("/v1/models", **authorised).status_code == 200
        assert live.get("/v1/pruning", **authorised).status_code == 200
    finally:
        live.stop()


def test_without_tokens_only_names_of_this_machine_are_answered(live):
    assert live.get("/v1/models", Host="evil.example").status_code == 403
    assert live.post(**{"Host": "evil.example"}).status_code == 403


def test_errors_of_a_replica_keep_their_shape(live):
    answer = live.post(b'{"model": "nano"}', **{"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    metrics = live.get("/metrics")
    assert (
        metrics.status_code == 501 and "each replica counts" in metrics.json()["error"]["message"]
    )
    assert live.get("/nothing").status_code == 404


def test_a_full_queue_is_said_with_a_time_to_come_back(replica):
    live = Live(Here(replica), Limits(waiting=0, batch=1))
    try:
        live.front.admission.enter()
        answer = live.post()
        assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1
    finally:
        live.stop()


def test_a_replica_that_died_is_an_error_that_may_be_sent_again(live):
    live.front.replicas.dead = True
    answer = live.post()
    assert answer.status_code == 503
    assert "send it again" in answer.json()["error"]["message"]
    assert live.get("/health").status_code == live.get("/ready").status_code == 503
    live.front.replicas.dead = False
    assert live.post().status_code == 200
    live.front.draining = True
    assert live.get("/ready").status_code == 503 and live.get("/health").status_code == 200
    assert live.front.admission.inside == 0


def test_a_client_that_leaves_takes_its_request_out_of_the_replica(replica, monkeypatch):
    """Its iterator is closed in the middle, and the request is cancelled where it runs."""
    # a short answer may be complete before the client leaves, and then nothing is dropped
    model = replica._service._preparer._checkpoint.model
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)
    dropped = replica._service.metrics.dropped.labels("disconnect")
    before = dropped._value.get()

    async def leave():
        long = encoded(stream=True, max_tokens=340)
        stream = replica.answer("POST", "/v1/chat/completions", long)
        assert (await anext(stream))["status"] == 200
        await stream.aclose()

    asyncio.run(leave())
    assert dropped._value.get() == before + 1


def encoded(**fields):
    return json.dumps(body(**fields)).encode()


# ---------------------------------------------------------------- with Ray Serve


@contextmanager
def started(tmp_path, monkeypatch):
    """`transprune serve --replicas 2` as a process, its address, and its mark."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    port = bind("127.0.0.1", 0)
    number = port.getsockname()[1]
    port.close()
    command = [sys.executable, "-m", "transprune.cli", "serve", "--replicas", "2"]
    command += ["--threads", "1", "--port", str(number)]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        deadline = time.monotonic() + 300
        while not (found := re.search(r"at (http://\S+)/v1", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield process, found[1], mark
    finally:
        process.kill()
        process.wait(20)
        kill_all(mark)


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_replicas_answer_survive_a_kill_and_end_in_order(tmp_path, monkeypatch):
    with started(tmp_path, monkeypatch) as (process, address, mark):
        url = f"{address}/v1/chat/completions"

        def ask(**fields):
            return httpx2.post(url, json=body(**fields), timeout=120, trust_env=False)

        assert ask().json()["choices"][0]["message"]["content"] == "star"
        with OpenAI(base_url=f"{address}/v1", api_key="none") as client:
            stream = client.chat.completions.create(**body(), stream=True)
            assert "".join(p.choices[0].delta.content or "" for p in stream if p.choices) == "star"

        replicas = [pid for pid, line in processes(mark).items() if "ServeReplica" in line]
        assert len(replicas) == 2
        os.kill(replicas[0], signal.SIGKILL)
        # a request may meet the dead one; the next is answered
        statuses = [ask().status_code for _ in range(6)]
        assert set(statuses) <= {200, 503} and 200 in statuses

        # what has begun is finished
        with httpx2.stream("POST", url, json=body(stream=True), timeout=120) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            process.send_signal(signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        process.wait(120)
        deadline = time.monotonic() + 30
        while processes(mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not processes(mark)
