"""JSON is strict when it is written, and a file that is not is one sentence."""

from __future__ import annotations

import json
import re

import pytest

from transprune.core import strict_json

NAN = float("nan")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"{", "line 1 column 2"),
        (b'{"a": 1,}', "line 1 column"),
        (b'{"a": 1} x', "Extra data"),
        (b"\xff\xfe{\x00}\x00", "UTF-16"),
        (b'{"a": "\xe9"}', "not UTF-8 (byte 0xe9"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1, "a": 2}', "'a' comes twice"),
        (b'{"b": {"a": 1, "a": 1}}', "'a' comes twice"),
        (b"[" * 65 + b"]" * 65, "nested"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"1" * 5000, "digits"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_strict_json(data, reason) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        strict_json.read(data)
    assert len(str(caught.value).splitlines()) == 1


def test_usual_texts() -> None:
    assert strict_json.read(b'\xef\xbb\xbf{"a": [1, 2.5, null]}\r\n') == {"a": [1, 2.5, None]}
    assert strict_json.read("[" * 64 + "]" * 64) == json.loads("[" * 64 + "]" * 64)
    wide = [[n] for n in range(1000)]
    assert strict_json.read(json.dumps(wide)) == wide


def test_numbers_that_are_not_finite_become_null() -> None:
    data = {"a": [NAN, 1.0, float("inf")], "b": {"c": -float("inf")}, "d": (NAN,)}
    text = strict_json.write(data)
    assert strict_json.read(text) == {"a": [None, 1.0, None], "b": {"c": None}, "d": [None]}
    assert data["a"][1] == 1.0 and len(data["a"]) == 3  # the data itself is not changed


def test_texts_that_are_no_utf8_can_be_written_and_read_back() -> None:
    data = {"path": "caf\udce9", "é": 1}
    text = strict_json.write(data)
    assert json.loads(text.encode("utf-8")) == data


def test_layout() -> None:
    data = {"a": [1, 2], "é": NAN}
    assert strict_json.write(data, compact=True) == '{"a":[1,2],"é":null}'
    assert strict_json.write({"a": 1}, indent=2) == '{\n  "a": 1\n}'
