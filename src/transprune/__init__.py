"""transprune: make Hugging Face vision-language models cheaper at inference by dropping visual tokens.

    from transprune import TransPrune, prune

    with prune(model, TransPrune.high()) as session:
        out = model.generate(**inputs)
    print(session.trace)

Importing this package loads nothing heavy: names arrive when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transprune import nano as nano
    from transprune.cost import Cost as Cost
    from transprune.errors import PruneError as PruneError
    from transprune.geometry import Geometry as Geometry
    from transprune.methods.base import Method as Method
    from transprune.methods.compose import Compose as Compose
    from transprune.methods.divprune import DivPrune as DivPrune
    from transprune.methods.fastv import FastV as FastV
    from transprune.methods.pdrop import PDrop as PDrop
    from transprune.methods.random import Random as Random
    from transprune.methods.transprune import TransPrune as TransPrune
    from transprune.methods.uniform import Uniform as Uniform
    from transprune.methods.visionzip import VisionZip as VisionZip
    from transprune.schedule import Schedule as Schedule
    from transprune.session import Session as Session
    from transprune.session import prune as prune
    from transprune.trace import Trace as Trace

__version__ = "0.1.0"

_HOME = {
    "Compose": "methods.compose",
    "Cost": "cost",
    "DivPrune": "methods.divprune",
    "FastV": "methods.fastv",
    "Geometry": "geometry",
    "Method": "methods.base",
    "PDrop": "methods.pdrop",
    "PruneError": "errors",
    "Random": "methods.random",
    "Schedule": "schedule",
    "Session": "session",
    "Trace": "trace",
    "TransPrune": "methods.transprune",
    "Uniform": "methods.uniform",
    "VisionZip": "methods.visionzip",
    "nano": "nano",
    "prune": "session",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME[name]}")
    return module if name == _HOME[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
