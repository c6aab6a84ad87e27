"""Settings and whole methods as text that can be pasted back."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transprune.methods.common.method import Method

DIGITS = 4  # of a share that was counted out; the next digit changes no token of 576


def write_value(value: Any, digits: int = 6) -> str:
    """A setting as recipe texts spell it: `none`, `true`, `192`, `0.5`, `7:0.875,9:0.625`.

    A share keeps its point, because `1` would be read as a count.

    Args:
        value: the setting.
        digits: decimals of a share.
    """
    from transprune.core.schedule import Schedule

    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(_rounded(value, digits))
    if isinstance(value, Schedule):
        return ",".join(f"{boundary}:{_rounded(share, digits):g}" for boundary, share in value)
    if isinstance(value, (tuple, list, range)):
        return _write_numbers(list(value))
    return str(value)


def write_recipe(method: Method, num_layers: int) -> str:
    """A method as the text that builds it for a model of `num_layers`; defaults are left out.

    Schedules are written for this depth, since a text has no other. Shares are rounded, so a few
    counts may differ by one token.
    """
    parts = getattr(method, "parts", None)
    if parts is not None:
        return "+".join(write_recipe(part, num_layers) for part in parts)

    settings = []
    # what all methods have comes last
    for field in sorted(fields(method), key=lambda field: field.name == "positions"):
        text = _setting(method, field, num_layers)
        if text is not None:
            settings.append(f"{field.name}={text}")

    return f"{method.name}:{','.join(settings)}" if settings else method.name


def _setting(method: Method, field: Any, num_layers: int) -> str | None:
    """One setting as text; None where the text can do without."""
    from transprune.core.schedule import Schedule
    from transprune.methods.common.scheduled import ScheduledPruner

    value = getattr(method, field.name)
    if not field.init or value == field.default:
        return None

    if isinstance(value, Schedule):
        if isinstance(method, ScheduledPruner) and field.name == "keep":
            # the method knows how its shares reach another depth
            return write_value(method.schedule(num_layers), DIGITS)
        published = getattr(type(method), "published_depths", ())
        return write_value(value.scaled(num_layers, published), DIGITS)

    if field.name == "accumulate":
        return _accumulated(method, num_layers)
    return write_value(value, DIGITS)


def _accumulated(method: Any, num_layers: int) -> str | None:
    """TransPrune's layers of evidence; None where they are those from first to last boundary."""
    # its default follows from the schedule and moves with it
    boundaries = method.schedule(num_layers).boundaries
    layers = list(method.observed(num_layers))
    if not layers or layers == list(range(boundaries[0], boundaries[-1] + 1)):
        return None
    return _write_numbers(layers)


def _rounded(share: float, digits: int) -> float:
    """A share with so many decimals, but never 0, which is no share."""
    return round(share, digits) or share


def _write_numbers(numbers: list[Any]) -> str:
    return ",".join(map(str, numbers))
