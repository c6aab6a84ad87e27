"""What stands in front of the model: tokens, hosts, sizes, the queue, time, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest

from serve.conftest import PICTURES, body, data_url, load_nano, small, to_bytes, user
from transprune.serve.fetch import Fetcher
from transprune.serve.guard import is_local
from transprune.serve.limits import Limits

QUESTION = "what shape is the orange object?"


def error_of(answer, status):
    """The error of an answer, which has OpenAI's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and isinstance(error["type"], str)
    return error


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---------------------------------------------------------------- who may ask


def test_a_token_is_needed_where_there_are_tokens(serve):
    server = serve(tokens=("first", "second"))
    for token in ("first", "second"):
        with server.client(token) as client:
            assert client.models.list().data
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer first2"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic first"},
        {"Authorization": "first"},
    ):
        error = error_of(server.post(body(), headers=headers), 401)
        assert error["code"] == "invalid_api_key"
        for path in ("/v1/models", "/v1/pruning", "/metrics", "/openapi.json", "/nothing"):
            answer = httpx2.get(server.address + path, headers=headers, trust_env=False)
            error_of(answer, 401)
    with server.client("wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    for path in ("/health", "/ready"):
        assert httpx2.get(server.address + path, trust_env=False).status_code == 200


def test_without_tokens_only_names_of_this_machine_are_answered(live):
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
        assert error_of(live.post(body(), headers={"Host": host}), 403)["code"] == "wrong_host"
    for host in (b"localhost", b"LOCALHOST:8000", b"127.0.0.1:9", b"[::1]:8000", b"127.0.0.2"):
        assert is_local(host)


def test_a_form_of_another_site_is_not_read(live):
    content = json.dumps(body()).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        error_of(live.post(content=content, headers={"Content-Type": kind}), 415)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    error_of(live.post(content=content, headers=headers), 415)
    assert "access-control-allow-origin" not in live.post(body(max_tokens=1)).headers


def test_other_routes_and_methods_are_errors_of_the_same_shape(live):
    for path in ("/page", "/v1/completions", "/../../etc/passwd", "/v1/%2e%2e/%00", "/docs"):
        error_of(httpx2.get(live.address + path, trust_env=False), 404)
    chat = f"{live.address}/v1/chat/completions"
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        error_of(httpx2.request(method, chat, trust_env=False), 405)


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    "picture",
    [
        "data:image/png;base64,bm8gcGljdHVyZQ==",
        "data:image/png;base64,%",
        "data:image/svg+xml;base64,PHN2Zy8+",
        data_url(to_bytes(small(), "TIFF")),
        data_url(to_bytes(small(), "PNG")[:-20]),
        data_url(to_bytes(small(), "PNG") + b"PK\x05\x06" + b"\0" * 18),
        data_url(to_bytes(small(size=(6000, 5000)), "PNG")),
        "file:///etc/passwd",
        str(PICTURES[0]),
        "http://127.0.0.1/a.png",
        "https://example.org/a.png",
        "",
    ],
)
def test_a_hostile_picture_is_the_client_s_mistake(live, picture):
    error = error_of(live.post({"model": "nano", "messages": user("what?", picture)}), 400)
    assert error["param"] == "messages.0.content.0.image_url"


def test_an_extreme_shape_is_the_client_s_mistake(live):
    picture = data_url(to_bytes(small(size=(20_000, 1)), "PNG"))
    answer = live.post({"model": "nano", "messages": user("what?", picture)})
    error_of(answer, 400)


def test_a_picture_by_address_is_fetched_from_an_allowed_host(serve):
    async def resolve(host, port):
        return ["93.184.216.34"]

    def handle(request):
        file = httpx2.ByteStream(PICTURES[1].read_bytes())
        return httpx2.Response(200 if request.url.path == "/a.png" else 302, stream=file)

    transport = httpx2.MockTransport(handle)
    server = serve(fetcher=Fetcher(("example.org",), Limits(), resolve, transport))
    given = {"model": "nano", "messages": user(QUESTION, "https://example.org/a.png")}
    answer = server.post(given).json()
    assert answer["choices"][0]["message"]["content"] == "star"
    given["messages"] = user(QUESTION, "https://example.org/b.png")
    assert error_of(server.post(given), 400)["code"] == "invalid_image_url"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (
            [{"role": "system", "content": "obey"}, {"role": "user", "content": "x"}],
            "messages.0.role",
        ),
        (
            [{"role": "developer", "content": "x"}, {"role": "user", "content": "x"}],
            "messages.0.role",
        ),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "messages.1.role",
        ),
        (
            [
                {"role": "assistant", "content": user("x", PICTURES[0])[0]["content"]},
                {"role": "user", "content": "x"},
            ],
            "messages.0",
        ),
        ([{"role": "user", "content": "what is <image> here?"}], "messages"),
        ([{"role": "user", "content": "word " * 3000}], "messages"),
    ],
)
def test_messages_that_the_model_cannot_take_are_refused(live, messages, param):
    error = error_of(live.post({"model": "nano", "messages": messages}), 400)
    assert error["param"] == param


def test_a_prompt_is_bounded_with_its_answer(serve):
    server = serve(Limits(prompt_tokens=160, new_tokens=20))
    assert server.post(body()).status_code == 200
    long = error_of(server.post(body("what " * 40)), 400)
    assert long["code"] == "context_length_exceeded"
    assert server.post(body(max_tokens=21)).status_code == 200


def test_a_large_body_is_refused_before_it_is_read(serve):
    server = serve(Limits(body_bytes=50_000))
    error_of(server.post(body("x" * 60_000)), 413)

    def chunks():
        for _ in range(100):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    error_of(server.post(content=chunks(), headers=headers), 413)
    assert server.post(body(picture=data_url(to_bytes(small())))).status_code == 200
    assert server.service.admission.inside == server.service.admission.held == 0


def test_bodies_of_all_requests_together_are_bounded(serve):
    server = serve(Limits(pending_bytes=200_000))
    answer = server.post(body("x" * 300_000))
    assert error_of(answer, 429)["code"] == "queue_full"
    assert server.post(body(picture=data_url(to_bytes(small())))).status_code == 200
    assert server.service.admission.held == 0


def test_a_body_that_does_not_arrive_is_given_up(serve):
    server = serve(Limits(body_seconds=0.2))
    host, port = server.socket.getsockname()
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
    assert server.service.admission.inside == 0


def test_the_time_of_a_request_counts_from_its_arrival(serve):
    """Each picture that is fetched has a time of its own; eight of them would be minutes."""

    class Slow:
        async def fetch(self, url, param):
            await asyncio.sleep(5)

    server = serve(Limits(seconds=0.2), fetcher=Slow())
    answer = server.post(body(picture="https://example.org/a.png"))
    assert error_of(answer, 504)["code"] == "timeout"
    assert answer.elapsed.total_seconds() < 4
    assert server.metric("dropped_total", reason="timeout") == 1
    assert server.service.admission.inside == server.service.admission.held == 0


def test_nothing_of_a_request_is_in_the_log(live, caplog):
    caplog.set_level("DEBUG", logger="transprune")
    live.post(body("is a secret word here?", user="secret"))
    live.post({"model": "secret", "messages": user("secret")})
    assert "chat 200 transprune-high chatcmpl-" in caplog.text
    assert "chat 404 none" in caplog.text
    assert "secret" not in caplog.text and "base64" not in caplog.text


# ---------------------------------------------------------------- how many, how long


def slow(tokens=200, **fields):
    return body("what does the sign read?", max_tokens=tokens, **fields)


@pytest.fixture
def endless_serve(serve):
    """Servers of one at a time, whose answers are long."""
    from serve.conftest import Live

    started = []

    def start(**limits):
        model = load_nano(endless=True)
        head = model.model.lm_head
        forward = head.forward

        def takes_its_time(*args):
            """A twentieth of a second per token, so that what is long is long on any machine."""
            time.sleep(0.05)
            return forward(*args)

        head.forward = takes_its_time
        server = Live(model, Limits(**{"batch": 1, **limits})).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.mark.slow
def test_a_full_queue_answers_429_and_says_when_to_come_back(endless_serve):
    server = endless_serve(waiting=1)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.post(slow(20)), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[:2] == [200, 200]
    full = [answer for answer in answers if answer.status_code == 429]
    assert full
    for answer in full:
        assert error_of(answer, 429)["type"] == "rate_limit_error"
        assert 1 <= int(answer.headers["retry-after"]) <= 60

    # a client that sends much is told as well, and not cut off while it sends
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(server.post, slow(30)) for _ in range(2)]
        wait_for(lambda: server.service.admission.inside == 2)
        assert server.post(body("x" * 10_000_000)).status_code == 429
        assert [one.result().status_code for one in running] == [200, 200]

    # the official client obeys Retry-After, so none is lost
    with ThreadPoolExecutor(4) as pool, server.client().with_options(max_retries=8) as client:
        done = list(pool.map(lambda _: client.chat.completions.create(**slow(3)), range(4)))
    assert len(done) == 4
    assert server.service.admission.inside == 0


def test_an_answer_that_takes_too_long_is_given_up(endless_serve):
    server = endless_serve(seconds=1.0)
    start = time.monotonic()
    assert error_of(server.post(slow(340)), 504)["code"] == "timeout"
    assert time.monotonic() - start < 12  # so many tokens take longer
    assert server.metric("dropped_total", reason="timeout") == 1
    # a busy machine may need more than that second for a short one, too
    wait_for(lambda: server.post(slow(1)).status_code == 200)


@pytest.mark.slow
def test_a_stream_that_takes_too_long_ends_with_an_error(endless_serve):
    server = endless_serve(seconds=4.0)
    text = server.post(slow(340, stream=True)).text
    assert '"code": "timeout"' in text
    assert text.endswith("data: [DONE]\n\n")
    wait_for(lambda: server.service.admission.inside == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(endless_serve, stream):
    server = endless_serve()
    content = json.dumps(slow(340, stream=stream)).encode()
    host, port = server.socket.getsockname()
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content
        )
        wait_for(lambda: server.metric("running") == 1)
    start = time.monotonic()
    wait_for(lambda: server.service.admission.inside == 0 and server.metric("running") == 0)
    assert time.monotonic() - start < 10  # so many tokens take longer
    assert server.metric("dropped_total", reason="disconnect") == 1
    assert server.post(slow(1)).status_code == 200


def test_health_is_answered_while_the_model_works(endless_serve):
    server = endless_serve()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, slow(40))
        wait_for(lambda: server.metric("running") == 1)
        for _ in range(5):
            answer = httpx2.get(f"{server.address}/health", timeout=2, trust_env=False)
            assert answer.status_code == 200
        assert running.result().status_code == 200


def test_a_server_that_is_stopped_finishes_what_runs_and_what_waits():
    from serve.conftest import Live

    server = Live(load_nano(endless=True), Limits(batch=1)).start()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.post, slow(40)) for _ in range(3)]
        wait_for(lambda: server.service.admission.inside == 3 and server.metric("running") == 1)
        server.stop()
        assert [one.result().status_code for one in asked] == [200, 200, 200]
    with pytest.raises(httpx2.ConnectError):
        server.post(slow(1))
    assert not server.service.ready and not server.service.scheduler.alive
