"""JSON for other programs: strict where it is written, checked once where it is read.

Python writes NaN and reads it, which no other language does, keeps the last of two equal keys, and
ends in a RecursionError on deep nesting. Files from people are read here, so that each of these is
one sentence.
"""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any

DEPTH = 64  # lists and objects inside each other; the deepest of our own files have six


class _NotStrict(ValueError):
    """Raised by our own hooks inside `json.loads`."""


def read(data: bytes | str) -> Any:
    """The data of a JSON text in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is not strict JSON; the message is the reason, in one line.
    """
    text = _decode(data) if isinstance(data, bytes) else data
    if not text.strip():
        raise ValueError("it is empty")

    try:
        found = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_number, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise ValueError(str(error)) from error
    except _NotStrict:
        raise
    except ValueError as error:
        raise ValueError("a whole number has more digits than Python converts") from error
    except RecursionError as error:
        raise ValueError(f"lists and objects are nested more than {DEPTH} deep") from error

    # counting brackets is quick, and nearly every text has fewer
    if text.count("[") + text.count("{") > DEPTH:
        _check_depth(found)

    return found


def write(data: Any, *, indent: int | None = None, compact: bool = False) -> str:
    """Data as strict JSON: a number that is not finite becomes null.

    Args:
        data: what `json.dumps` takes.
        indent: spaces per level; None for one line.
        compact: no spaces after separators.
    """
    separators = (",", ":") if compact else None
    try:
        text = json.dumps(
            data, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
        )
    except ValueError:
        finite = without_nan(data)
        text = json.dumps(
            finite, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
        )

    # a path may hold bytes that are no UTF-8; escaped they can be written, and read back
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(without_nan(data), indent=indent, separators=separators)

    return text


def without_nan(data: Any) -> Any:
    """A copy of nested lists and mappings with None for every number that is not finite."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: without_nan(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [without_nan(value) for value in data]
    return data


def _decode(data: bytes) -> str:
    """The text of UTF-8 bytes, without a byte order mark."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ValueError("not UTF-8 but UTF-16; save it as UTF-8")

    # some editors write this mark, and JSON forbids it
    content = data.removeprefix(BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ValueError(
            f"not UTF-8 (byte {byte:#04x} at {error.start}); save it as UTF-8"
        ) from error


def _refuse_constant(name: str) -> Any:
    raise _NotStrict(f"{name} is no JSON number; write null for a value that is missing")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotStrict(f"{text[:20]} is too large a number")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found

    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise _NotStrict(f"the key {twice[:100]!r} comes twice in one object")


def _check_depth(data: Any) -> None:
    """Raise ValueError where containers are nested deeper than `DEPTH`; without recursion."""
    # level by level and without recursion, which deep data would exhaust
    level = [data]
    for _ in range(DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value

        if not inner:
            return

        level = inner

    if any(isinstance(value, (dict, list)) for value in level):
        raise ValueError(f"lists and objects are nested more than {DEPTH} deep")
