"""The fields of a request: answered, accepted, or refused with the name of the field."""

from __future__ import annotations

import json

import pytest

from transprune.serve.fields import IGNORED, NEUTRAL
from transprune.serve.limits import Limits
from transprune.serve.refusal import Refusal
from transprune.serve.request import parse

LIMITS = Limits()
USER = [{"role": "user", "content": "what?"}]


def read(limits=LIMITS, **fields):
    return parse(json.dumps({"model": "nano", "messages": USER, **fields}).encode(), limits)


def refused(limits=LIMITS, **fields):
    with pytest.raises(Refusal) as caught:
        read(limits, **fields)
    assert caught.value.status == 400
    return caught.value


def test_a_request_is_read():
    request = read(temperature=0.5, top_p=1, seed=-3, stop=["a", "b"], max_tokens=7, stream=True)
    assert request.stops == ("a", "b")
    assert request.new_tokens(Limits()) == 7
    assert read(stop="a").stops == ("a",)
    assert read().new_tokens(Limits(new_tokens=33)) == 33
    # an upper bound of the client beside that of the server: the lower one counts
    assert read(max_tokens=32).new_tokens(Limits(new_tokens=33)) == 32
    assert read(max_completion_tokens=10**30).new_tokens(Limits(new_tokens=33)) == 33


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_a_field_that_changes_no_answer_is_accepted(name):
    read(**{name: "anything"})


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_a_field_that_is_not_supported_is_accepted_at_its_default_only(name):
    for value in NEUTRAL[name]:
        read(**{name: value})
    for value in (0.5, "x", True, 3, ["x"], {"a": 1}):
        error = refused(**{name: value})
        assert (error.param, error.code) == (name, "unsupported_parameter")


def test_several_answers_are_refused_never_ignored():
    assert refused(n=2).param == "n"
    assert refused(n=True).param == "n"


def test_an_unknown_field_is_refused_with_the_nearest_name():
    error = refused(max_tokenz=3)
    assert error.code == "unknown_parameter"
    assert "Did you mean 'max_tokens'" in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["x"]}, "messages.0"),
        ({"messages": [{}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
            "messages.0.content.0",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": [3]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"x": 1}}, "stream_options.x"),
        ({"pruning": 3}, "pruning"),
    ],
)
def test_a_wrong_field_is_named(fields, param):
    error = refused(**fields)
    assert error.param is not None
    assert error.param.startswith(param)
    assert error.body["error"]["type"] == "invalid_request_error"


def test_both_lengths_at_once_are_refused():
    assert "not both" in refused(max_tokens=3, max_completion_tokens=4).message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"x"',
        b"\xff\xfe",
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "nano", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "nano", "messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"model": "nano", "messages": [{"role": "user", "content": "x"}], "seed": '
        + b"9" * 5000
        + b"}",
    ],
)
def test_what_is_no_request_is_refused(body):
    with pytest.raises(Refusal) as caught:
        parse(body, Limits())
    assert caught.value.status == 400


def test_sizes_are_bounded():
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    text = {"type": "text", "text": "what?"}
    cases = {
        "messages": {"messages": USER * 101},
        "pictures": {"messages": [{"role": "user", "content": [text, *[image] * 9]}]},
        "characters": {"messages": [{"role": "user", "content": "x" * 32_769}]},
    }
    for what, fields in cases.items():
        error = refused(**fields)
        assert what in error.message and error.code == "too_large"


def test_a_request_without_text_is_refused():
    for content in ("", "  \n", []):
        assert "no text" in refused(messages=[{"role": "user", "content": content}]).message


def test_a_refusal_does_not_repeat_what_was_sent():
    secret = "x" * 50 + "secret"
    error = refused(messages=[{"role": secret, "content": secret}], temperature=secret)
    assert "secret" not in json.dumps(error.body)
