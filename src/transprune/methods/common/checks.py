"""Checks of settings: each names the setting, what it takes, and what came."""

from __future__ import annotations

from transprune.core.schedule import count_kept
from transprune.errors import MethodError, ScheduleError


def check_ratio(name: str, value: float) -> None:
    """Raise ScheduleError unless `value` is a number in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ScheduleError(
            f"{name} is the share of visual tokens that stays and must lie in (0, 1]; got {value!r}"
        )


def check_flag(name: str, value: bool) -> None:
    """Raise MethodError unless `value` is a bool: the text "no" would count as yes."""
    if not isinstance(value, bool):
        raise MethodError(f"{name} is True or False; got {value!r}")


def check_keep(name: str, value: int | float) -> None:
    """Raise ScheduleError unless `value` is a positive count (int) or a share in (0, 1] (float)."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ScheduleError(f"{name} as a count must be at least 1; got {value}")
    else:
        check_ratio(name, value)


def resolve_count(keep: int | float, total: int) -> int:
    """A count (int) or a share of `total` (float in (0, 1]) as a count, at most `total`."""
    count = count_kept(total, keep) if isinstance(keep, float) else keep
    return min(total, count)
