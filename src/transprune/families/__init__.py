"""The families, one file each; the registry imports every module of this folder.

Importing this package loads no torch; the names arrive when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transprune.families.base import FAMILIES as FAMILIES
    from transprune.families.base import Family as Family
    from transprune.families.base import find_family as find_family

__all__ = ["FAMILIES", "Family", "find_family"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    from transprune.families import base

    return getattr(base, name)
