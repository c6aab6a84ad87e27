"""Dataclasses out of JSON: every value is checked against the type that its field announces.

A run's files are read by figures and tables, which would fail on a wrong type far from the file
that has it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from transprune.core.shown import shown

T = TypeVar("T")


def build(cls: type[T], data: Any) -> T:
    """A dataclass from JSON data; lists become tuples where the field is a tuple.

    Raises:
        TypeError: no object, unknown or missing keys, or a value of another type; it is named.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"a {cls.__name__} is an object; got {shown(data)}")

    kinds = _kinds(cls)  # type: ignore[arg-type]  # a class is hashable
    values: dict[str, Any] = {}
    for key, value in data.items():
        kind = kinds.get(key, Any)
        if not _fits(value, kind):
            raise TypeError(f"{key} must be {_name(kind)}; got {shown(value)}")

        # JSON has no tuples
        values[key] = tuple(value) if get_origin(kind) is tuple else value

    return cls(**values)


@cache
def _kinds(cls: type) -> dict[str, Any]:
    """Field -> its type."""
    return get_type_hints(cls)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value out of JSON is of a type."""
    if kind is Any:
        return True
    if is_dataclass(kind):
        return isinstance(value, kind)  # type: ignore[arg-type]

    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(kind))
    if origin is not None:
        return _contains(value, origin, get_args(kind))
    return _is_plain(value, kind)


def _contains(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    """Whether a list or an object has entries of the right types."""
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False
        keys, entries = inner
        return _all_fit(value.keys(), keys) and _all_fit(value.values(), entries)

    return isinstance(value, (list, tuple)) and _all_fit(value, inner[0])


def _all_fit(values: Any, kind: Any) -> bool:
    # the usual case, at the speed of the interpreter's own loop: records hold long lists of indices
    if kind is int:
        return set(map(type, values)) <= {int}
    return all(_fits(value, kind) for value in values)


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether a value is a text, a number, true, false or null."""
    if kind in (None, NoneType):
        return value is None
    # Python counts true as 1
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        # neither NaN nor a whole number beyond every float is in this range
        return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


def _name(kind: Any) -> str:
    """The type as it is written: `str`, `float | None`."""
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
