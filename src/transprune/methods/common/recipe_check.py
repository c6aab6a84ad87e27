"""Check the settings of a recipe before a method is built from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transprune.core.shown import shown
from transprune.errors import RecipeError
from transprune.registry import did_you_mean

LONGEST_TEXT = 1000  # characters of a setting; the longest are orders of layers
LONGEST_NAME = 100  # characters of a name in a message; comparing longer ones takes long


def check_settings(name: str, values: Mapping[str, Any], known: list[str]) -> None:
    """Raise RecipeError for a setting that the method does not have, or a value that no one takes."""
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(str(key)[:LONGEST_NAME], known)
            has = ", ".join(known) or "none"
            raise RecipeError(f"{name} has no setting {shown(key)}.{hint} It has: {has}.")

        if isinstance(value, float) and not math.isfinite(value):
            raise RecipeError(f"{name}: {key} must be a finite number; got {value}")
        # a method would repeat all of it in its error
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise RecipeError(f"{name}: {key} has {len(value)} characters; got {shown(value)}")
