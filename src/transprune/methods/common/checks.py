"""Checks of settings: each names the setting, the values it takes, and the value that came.

`error` is the type to raise: ScheduleError for settings that say how much stays, else MethodError.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from transprune.core.schedule import count_kept
from transprune.errors import MethodError, ScheduleError

# where tokens made of others stand: as the method's own code puts them, or where one of them was
ORDERS = ("official", "in_place")


def check_ratio(name: str, value: float) -> None:
    """Raise ScheduleError unless `value` is a number in (0, 1]."""
    # NaN fails every comparison, so it is refused too
    if not _is_number(value) or not 0 < value <= 1:
        raise ScheduleError(
            f"{name} is the share of visual tokens that stays and must lie in (0, 1]; got {value!r}"
        )


def check_keep(name: str, value: int | float) -> None:
    """Raise ScheduleError unless `value` is a positive count (int) or a share in (0, 1] (float)."""
    if not is_count(value):
        check_ratio(name, value)
    elif value < 1:
        raise ScheduleError(f"{name} as a count must be at least 1; got {value}")


def check_flag(name: str, value: bool) -> None:
    """Raise MethodError unless `value` is a bool: the text "no" would count as yes."""
    if not isinstance(value, bool):
        raise MethodError(f"{name} is True or False; got {value!r}")


def check_count(
    name: str, value: int, meaning: str, least: int = 1, error: type[MethodError] = MethodError
) -> None:
    """Raise `error` unless `value` is an int of at least `least`; `meaning` completes "name is"."""
    if not is_count(value) or value < least:
        raise error(f"{name} is {meaning}, at least {least}; got {value!r}")


def check_share(
    name: str, value: float, meaning: str, error: type[MethodError] = MethodError
) -> None:
    """Raise `error` unless `value` is a number in [0, 1]; `meaning` follows the name."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise error(f"{name} {meaning} and must lie in [0, 1]; got {value!r}")


def check_count_or_share(name: str, value: int | float, of: str) -> None:
    """Raise MethodError unless `value` is a share of `of` in (0, 1], or a count from 2 on.

    The whole number 1 is the share: all of them.
    """
    share = _is_number(value) and 0 < value <= 1
    count = is_count(value) and value > 1
    if not share and not count:
        raise MethodError(
            f"{name} is a share of {of} in (0, 1], 1 for all, or a count from 2 on; got {value!r}"
        )


def check_number(
    name: str, value: float, above: float | None = None, most: float = math.inf
) -> None:
    """Raise MethodError unless `value` is a finite number from 0 on, or greater than `above`.

    `most` is the largest allowed one.
    """
    allowed = "from 0 on" if above is None else f"above {above}"
    if most < math.inf:
        allowed += f" and at most {most}"

    in_range = _is_number(value) and math.isfinite(value) and value <= most
    if not in_range or (value < 0 if above is None else value <= above):
        raise MethodError(f"{name} is a number {allowed}; got {value!r}")


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise MethodError unless `value` is one of `choices`; True does not count as 1."""
    # one by one: a value out of JSON may be a list, which no set can look up
    found = [choice for choice in choices if value == choice and not isinstance(value, bool)]

    if not found:
        *first, last = map(repr, choices)
        raise MethodError(f"{name} is {', '.join(first)} or {last}; got {value!r}")


def check_weights(value: Any) -> None:
    """Raise MethodError unless `weights` of a trained method is a folder as text, or None.

    Whether weights are there is found out when the method meets a model.
    """
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise MethodError(
            "weights is the folder of `transprune train-pruner` as text, or None for those beside "
            f"the checkpoint; got {value!r}"
        )


def is_count(value: Any) -> bool:
    """Whether `value` is an int and not a bool, which Python counts as one."""
    return isinstance(value, int) and not isinstance(value, bool)


def resolve_count(keep: int | float, total: int) -> int:
    """A count (int) or a share of `total` (float in (0, 1]) as a count, at most `total`."""
    count = count_kept(total, keep) if isinstance(keep, float) else keep
    return min(total, count)


def _is_number(value: Any) -> bool:
    """Whether `value` is an int or a float and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
