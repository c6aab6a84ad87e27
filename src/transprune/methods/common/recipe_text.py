"""Read one part of a recipe text: a name, alone or with settings. Nothing is ever evaluated."""

from __future__ import annotations

import re
from typing import Any

from transprune.core.shown import shown
from transprune.errors import RecipeError

WORDS = {"true": True, "false": False, "none": None}


def split_part(text: str) -> tuple[str, dict[str, Any]]:
    """`"fastv:layer=3,keep_ratio=0.25"` as a name and its settings.

    Raises:
        RecipeError: a setting that is not `name=value`, or one that is given twice.
    """
    name, _, settings = text.partition(":")
    values: dict[str, Any] = {}
    if not settings:
        return name.strip(), values

    # a comma separates settings only where a new `name=` follows: a schedule may contain commas
    for pair in re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", settings):
        key, equals, value = pair.partition("=")
        if not equals:
            raise RecipeError(
                f"settings read name=value, as 'fastv:layer=3,keep_ratio=0.25'; got {shown(pair)} "
                f"in {shown(text)}"
            )

        setting = key.strip()
        if setting in values:
            raise RecipeError(f"{shown(text)} sets {setting} twice; give it once")

        values[setting] = _literal(value.strip())

    return name.strip(), values


def _literal(text: str) -> Any:
    """`3` -> int, `0.25` -> float, `true`/`false`/`none` -> those; everything else stays text."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]

    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue

    return text
