"""transprune: make Hugging Face vision-language models cheaper at inference by dropping visual tokens.

    from transprune import TransPrune, prune

    with prune(model, TransPrune.high()) as session:
        out = model.generate(**inputs)
    print(session.trace)

Importing this package loads nothing heavy: names arrive when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transprune import nano as nano
    from transprune.core.schedule import Schedule as Schedule
    from transprune.cost.count import Cost as Cost
    from transprune.cost.geometry import Geometry as Geometry
    from transprune.errors import PruneError as PruneError
    from transprune.methods.common.method import Method as Method
    from transprune.methods.compose import Compose as Compose
    from transprune.methods.controls.random import Random as Random
    from transprune.methods.controls.uniform import Uniform as Uniform
    from transprune.methods.divprune import DivPrune as DivPrune
    from transprune.methods.fastv import FastV as FastV
    from transprune.methods.pdrop import PDrop as PDrop
    from transprune.methods.transprune import TransPrune as TransPrune
    from transprune.methods.visionzip import VisionZip as VisionZip
    from transprune.session import Session as Session
    from transprune.session import prune as prune
    from transprune.trace import Trace as Trace

__version__ = "0.2.0"

# name -> module that defines it
_HOME = {
    "Compose": "methods.compose",
    "Cost": "cost.count",
    "DivPrune": "methods.divprune",
    "FastV": "methods.fastv",
    "Geometry": "cost.geometry",
    "Method": "methods.common.method",
    "PDrop": "methods.pdrop",
    "PruneError": "errors",
    "Random": "methods.controls.random",
    "Schedule": "core.schedule",
    "Session": "session",
    "Trace": "trace",
    "TransPrune": "methods.transprune",
    "Uniform": "methods.controls.uniform",
    "VisionZip": "methods.visionzip",
    "nano": "nano",
    "prune": "session",
}

# import path of 0.1.0 that other packages may use -> where the module is now
_MOVED = {
    "answer": "models.answer",
    "bench.records": "bench.data.records",
    "bench.summary": "bench.results.summary",
    "bench.tasks": "bench.data.tasks",
    "calibrate": "models.calibrate",
    "checkpoint": "models.checkpoint",
    "cluster": "algebra.cluster",
    "geometry": "cost.geometry",
    "grids": "algebra.grids",
    "images": "models.images",
    "layout": "core.layout",
    "methods.base": "methods.common.method",
    "methods.keeping": "methods.common.projector",
    "methods.scheduled": "methods.common.scheduled",
    "nano.demo": "demo",
    "overlay": "report.overlay",
    "paper": "cost.paper",
    "plan": "core.plan",
    "recipe": "methods.common.recipe",
    "schedule": "core.schedule",
    "select": "algebra.select",
    "signals": "core.signals",
    "text_tower": "runtime.taps.text_tower",
    "views": "core.views",
}


class _MovedFinder(MetaPathFinder, Loader):
    """Imports a module under the path it had in 0.1.0: the very module, not a copy."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        old = fullname.removeprefix(f"{__name__}.")
        return ModuleSpec(fullname, self) if old in _MOVED and old != fullname else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.removeprefix(f"{__name__}.")
        # what stands in sys.modules when this returns is what the import statement gets
        sys.modules[module.__name__] = import_module(f"{__name__}.{_MOVED[old]}")


sys.meta_path.append(_MovedFinder())

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME[name]}")
    return module if name == _HOME[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
