"""The methods, one file each. The registry finds a new file: it imports every module in here."""

from typing import Any

from transprune.methods.common.method import LayerPruner, Method, ProjectorPruner
from transprune.methods.common.recipe import METHODS

__all__ = ["LayerPruner", "Method", "ProjectorPruner"]


def __getattr__(name: str) -> Any:
    """The registered classes by their own names, as `from transprune.methods import FastV`."""
    if not name.startswith("_"):
        for cls in map(METHODS.get, METHODS):
            if cls.__name__ == name:
                return cls

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
