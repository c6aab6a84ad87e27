"""What the endpoint answers: the same as `transprune run`, in OpenAI's shape."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from PIL import Image

from serve.conftest import PICTURES, body, load_nano, runner, user

QUESTIONS = (
    "what shape is the orange object?",
    "how many objects are there?",
    "is the orange circle left or right?",
)
LONG = "what does the sign read?"  # nobody knows, so an endless model says many words
METHODS = ("unpruned", "transprune-high", "transprune-low", "visionzip:keep=64")


@pytest.fixture(scope="module")
def run():
    return runner(load_nano())  # not the served one, which another thread may be pruning


@pytest.fixture(scope="module")
def run_endless():
    return runner(load_nano(endless=True))


@pytest.fixture(scope="module")
def talkative(endless):
    with endless.client() as client:
        yield client


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_is_that_of_run(client, run, method):
    for number in (0, 1):
        for question in QUESTIONS:
            expected = run(question, number, method)
            got = client.chat.completions.create(
                model="nano",
                messages=user(question, PICTURES[number]),
                max_tokens=64,
                extra_body={"pruning": method},
            )
            assert got.choices[0].message.content == expected.text
            assert got.usage.completion_tokens == expected.tokens
            assert got.choices[0].finish_reason == "stop"


def test_requests_of_all_methods_at_once_are_answered_like_one(live, client, run):
    wanted = [(q, n, m) for q in QUESTIONS for n in range(3) for m in METHODS]

    def put(case):
        question, number, method = case
        return client.chat.completions.create(
            model=f"nano@{method}", messages=user(question, PICTURES[number]), max_tokens=64
        )

    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(put, wanted))
    for case, got in zip(wanted, answers, strict=True):
        assert got.choices[0].message.content == run(*case).text, case
        assert got.usage.pruning["method"] == case[2]
    assert max(got.usage.pruning["batch_size"] for got in answers) > 1


def test_the_usage_is_what_the_trace_says(client, run):
    expected = run(QUESTIONS[0], 1, "transprune-high")
    got = client.chat.completions.create(**body(QUESTIONS[0]), max_tokens=64)
    pruning = got.usage.pruning
    trace = expected.trace
    assert pruning["visual_tokens_before"] == trace.visual_tokens[0] == 144
    assert pruning["visual_tokens_after"] == trace.tokens_per_layer()[-1] < 144
    assert pruning["prefill_flops_share"] == pytest.approx(trace.cost("exact").prefill_share, 1e-5)
    assert 0 < pruning["queued_seconds"] < pruning["first_token_seconds"] < 60
    assert got.usage.prompt_tokens == trace.visual_tokens[0] + trace.text_tokens[0]
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens


@pytest.mark.parametrize("method", ["unpruned", "transprune-low"])
def test_a_stream_gives_the_same_in_pieces(talkative, run_endless, method):
    stream = talkative.chat.completions.create(
        model=f"nano@{method}",
        messages=user(LONG, PICTURES[0]),
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    *parts, bill = list(stream)
    pieces = [part.choices[0].delta.content for part in parts if part.choices[0].delta.content]
    expected = run_endless(LONG, 0, method, 24)
    assert "".join(pieces) == expected.text
    assert len(pieces) > 1
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].choices[0].finish_reason == "length"
    assert bill.choices == [] and bill.usage.completion_tokens == expected.tokens
    assert bill.usage.pruning["method"] == method
    assert len({part.id for part in [*parts, bill]}) == 1


def test_a_stream_ends_with_the_line_clients_wait_for(live):
    answer = live.post(body(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    parts = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert all("usage" not in part for part in parts)
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}


def test_a_request_without_a_picture_is_answered(client):
    got = client.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": "what is a circle?"}], max_tokens=8
    )
    assert got.usage.pruning["visual_tokens_before"] == 0
    assert got.usage.pruning["prefill_flops_share"] == 1.0


def test_a_conversation_goes_through_the_chat_template(client, checkpoint):
    first = user("what shape is the orange object?", PICTURES[1])
    messages = [
        *first,
        {"role": "assistant", "content": "star"},
        {"role": "user", "content": "how many objects are there?"},
    ]
    got = client.chat.completions.create(model="nano", messages=messages, max_tokens=8)
    alone = client.chat.completions.create(model="nano", messages=first, max_tokens=8)
    assert got.usage.prompt_tokens > alone.usage.prompt_tokens
    assert got.usage.pruning["visual_tokens_before"] == 144


# ---------------------------------------------------------------- the end of an answer


def create(client, question=LONG, **fields):
    fields.setdefault("max_tokens", 24)
    return client.chat.completions.create(**body(question, PICTURES[0], **fields))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_length_is_kept(talkative, run_endless, field):
    got = create(talkative, **{"max_tokens": openai.omit, field: 3})
    assert got.choices[0].finish_reason == "length"
    assert got.usage.completion_tokens == 3
    assert got.choices[0].message.content == run_endless(LONG, 0, "transprune-high", 3).text


def test_a_larger_bound_than_the_server_s_ends_there_and_says_so(talkative):
    got = create(talkative, max_tokens=10**9)
    assert got.choices[0].finish_reason == "length"
    # here the context of the bundled model, which is full before the bound of the server
    assert got.usage.total_tokens == 512


def test_a_stop_sequence_ends_the_answer_and_is_not_part_of_it(talkative, run_endless):
    whole = run_endless(LONG, 0, "transprune-high", 24).text
    stop = whole.split()[3]  # a word that is not there earlier
    assert whole.count(stop) == 1
    got = create(talkative, stop=[stop, "never there"])
    assert got.choices[0].message.content == whole[: whole.index(stop)].strip()
    assert got.choices[0].finish_reason == "stop"

    stream = create(talkative, stop=stop, stream=True)
    pieces = [part.choices[0].delta.content or "" for part in stream]
    assert "".join(pieces) == got.choices[0].message.content


@pytest.mark.slow
def test_a_seed_repeats_an_answer_alone_and_in_a_batch(talkative):
    def put(seed):
        got = create(talkative, temperature=1.7, seed=seed)
        return got.choices[0].message.content

    alone = [put(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(put, range(6)))
    assert alone == together
    assert len(set(alone)) > 1


def test_greedy_neighbours_of_a_drawing_request_stay_greedy(talkative, run_endless):
    with ThreadPoolExecutor(8) as pool:
        greedy = [pool.submit(create, talkative) for _ in range(4)]
        drawn = [pool.submit(create, talkative, temperature=2.0, seed=n) for n in range(4)]
        expected = run_endless(LONG, 0, "transprune-high", 24).text
        assert {one.result().choices[0].message.content for one in greedy} == {expected}
        assert any(one.result().choices[0].message.content != expected for one in drawn)


def test_top_p_zero_leaves_the_best_token(talkative, run_endless):
    got = create(talkative, temperature=2.0, top_p=0.0, seed=1)
    assert got.choices[0].message.content == run_endless(LONG, 0, "transprune-high", 24).text


# ---------------------------------------------------------------- other routes and clients


def test_the_models_are_what_is_loaded(client):
    names = [model.id for model in client.models.list()]
    assert names[0] == "nano"
    assert {"nano@unpruned", "nano@transprune-high", "nano@visionzip:keep=64"} <= set(names)


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="Did you mean 'nano'") as caught:
        client.chat.completions.create(model="nanno", messages=user("what?"))
    assert caught.value.code == "model_not_found"


def test_a_method_that_is_not_offered_is_refused_and_never_resolved(client, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text("{}")
    for name in ("fastv", str(recipe), "../../etc/passwd"):
        with pytest.raises(openai.BadRequestError, match="no method") as caught:
            create(client, extra_body={"pruning": name})
        assert caught.value.code == "unknown_method"
    with pytest.raises(openai.BadRequestError, match="two methods"):
        client.chat.completions.create(
            model="nano@unpruned", messages=user("what?"), extra_body={"pruning": "transprune-low"}
        )


def test_the_request_of_vlmevalkit(live):
    """The payload its API class sends: text and JPEG parts, n=1, a temperature, `detail`."""
    from serve.conftest import data_url, to_bytes

    with Image.open(PICTURES[1]) as image:
        url = data_url(to_bytes(image.convert("RGB"), "JPEG", quality=95), "jpeg")
    content = [
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "text", "text": "what shape is the orange object?"},
    ]
    payload = {
        "model": "nano",
        "messages": [{"role": "user", "content": content}],
        "n": 1,
        "temperature": 0,
        "max_tokens": 64,
    }
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
    answer = live.post(content=json.dumps(payload).encode(), headers=headers)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"].strip() == "star"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(live, tmp_path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body(pruning="transprune-low")))
    command = ["curl", "-sS", "--noproxy", "*", f"{live.address}/v1/chat/completions"]
    command += ["-H", "Content-Type: application/json", "-d", f"@{file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"] == "star"
    assert answer["usage"]["pruning"]["method"] == "transprune-low"


def test_health_and_metrics(live, client):
    import httpx2

    create(client, max_tokens=2)
    for path in ("/health", "/ready"):
        assert httpx2.get(live.address + path, trust_env=False).status_code == 200
    page = httpx2.get(f"{live.address}/metrics", trust_env=False)
    assert "transprune_requests_total" in page.text
    for name in ("open_requests", "batch_size_bucket", "first_token_seconds_bucket", "reuse_total"):
        assert f"transprune_{name}" in page.text
