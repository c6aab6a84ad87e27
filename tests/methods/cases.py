"""Every registered method with settings that fit a model of 8 decoder layers. A new method adds a row here.

`KEEP_ALL` is the same method told to keep everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from transprune import Compose, DivPrune, FastV, PDrop, Random, TransPrune, Uniform, VisionZip
from transprune.methods import Method

STAGES = {2: 0.75, 4: 0.5, 6: 0.2}
NONE_GO = {2: 1.0, 4: 1.0}


@dataclass(frozen=True)
class MethodCase:
    """A method that prunes, and the same one keeping everything."""

    method: Method
    keep_all: Method

    @property
    def merges(self) -> bool:
        """Kept rows get new contents, of which the oracle knows nothing."""
        return any(step.reads_vision for step in self.method.steps)

    @property
    def composed(self) -> Method:
        """With TransPrune behind it, as in the paper's Tables 4 and 5."""
        last = max(stage.boundary for stage in self.method.plan(8, 64))
        return Compose([*self.method.steps, TransPrune({last + 1: 0.6})])


METHODS = {
    "compose": MethodCase(
        Compose([VisionZip(0.5), TransPrune({2: 0.75, 4: 0.4})]),
        Compose([VisionZip(1.0), TransPrune(NONE_GO)]),
    ),
    "divprune": MethodCase(DivPrune(0.3), DivPrune(1.0)),
    "fastv": MethodCase(FastV(layer=2, keep_ratio=0.4), FastV(layer=2, keep_ratio=1.0)),
    "pdrop": MethodCase(PDrop(STAGES), PDrop(NONE_GO)),
    "random": MethodCase(Random(STAGES), Random(NONE_GO)),
    "transprune": MethodCase(TransPrune(STAGES), TransPrune(NONE_GO)),
    "uniform": MethodCase(Uniform(STAGES), Uniform(NONE_GO)),
    "visionzip": MethodCase(VisionZip(0.4), VisionZip(1.0)),
}

# further settings that take another path through the runtime
VARIANTS = {
    "transprune-ttv": MethodCase(TransPrune(STAGES, alpha=1.0), TransPrune(NONE_GO, alpha=1.0)),
    "transprune-iga": MethodCase(TransPrune(STAGES, alpha=0.0), TransPrune(NONE_GO, alpha=0.0)),
    "transprune-no-accumulation": MethodCase(
        TransPrune(STAGES, accumulation=False, softmax_over="visual"), TransPrune(NONE_GO, accumulation=False)
    ),
    "random-from-0": MethodCase(Random({0: 0.5, 3: 0.25}), Random({0: 1.0, 3: 1.0})),
}
CASES = METHODS | VARIANTS
