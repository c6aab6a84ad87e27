"""Every registered method with settings that fit a model of 8 decoder layers. A new method adds a row here.

A row is a method that prunes and the same one told to keep everything; the rest says, with its reason, where the method
does not keep a contract that all others keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from methods.trained import weights_for
from transprune import Compose, DivPrune, FastV, PDrop, Random, TransPrune, Uniform, VisionZip
from transprune.methods import (
    ATP,
    EVS,
    PACT,
    PLPHP,
    PTP,
    SCOPE,
    STAR,
    AdaptInfer,
    ApET,
    AsymVLM,
    CDPruner,
    Downsample,
    FastAV,
    FasterVLM,
    FitPrune,
    GridPrune,
    LVPruning,
    Method,
    Norm,
    Pool,
    PruMerge,
    PruneSID,
    ShortV,
    SparseVLM,
    ToMe,
    TopV,
    VFlowOpt,
    VisPruner,
    VScan,
)

LAST = "recycled tokens come last"
STAGES = {2: 0.75, 4: 0.5, 6: 0.2}
EVERY_LAYER = {2: 0.9, 3: 0.75, 4: 0.7, 5: 0.45, 6: 0.2}
NONE_GO = {2: 1.0, 4: 1.0}


@dataclass(frozen=True)
class MethodCase:
    """A method that prunes, and the same one keeping everything.

    Attributes:
        refuses: family -> what the error says, for families on which the method cannot work.
        drops: False where every token stays; what is saved is then something else.
        evicts: keys leave the cache behind the prefill.
        ties: why equal tokens do not simply leave the first ones; empty where they do.
        order: why rows do not stay in the order of the prompt where positions are renumbered; empty
            where they do.
    """

    method: Method
    keep_all: Method
    refuses: Mapping[str, str] = field(default_factory=dict)
    drops: bool = True
    evicts: bool = False
    ties: str = ""
    order: str = ""

    @property
    def composed(self) -> Method:
        """With TransPrune behind it, as in the paper's Tables 4 and 5."""
        last = max((stage.boundary for stage in self.method.plan(8, 64)), default=2)
        return Compose([*self.method.steps, TransPrune({last + 1: 0.6})])


METHODS = {
    "adaptinfer": MethodCase(AdaptInfer(STAGES), AdaptInfer(NONE_GO)),
    "apet": MethodCase(
        ApET(0.6, {3: 0.5}, basis=3),
        ApET(1.0, {3: 1.0}),
        ties="equal tokens merge into the first",
    ),
    "asymvlm": MethodCase(
        AsymVLM(0.7, 0.1, 0.4, weights_for("asymvlm")),
        AsymVLM(1.0, 1.0, 1.0, weights_for("asymvlm")),
    ),
    "atp": MethodCase(ATP(0.4), ATP(1.0)),
    "cdpruner": MethodCase(CDPruner(0.4), CDPruner(1.0)),
    "compose": MethodCase(
        Compose([VisionZip(0.5), TransPrune({2: 0.75, 4: 0.4})]),
        Compose([VisionZip(1.0), TransPrune(NONE_GO)]),
        ties="contextual tokens are spread evenly",
    ),
    "divprune": MethodCase(DivPrune(0.3), DivPrune(1.0)),
    "downsample": MethodCase(
        Downsample(0.4), Downsample(1.0), ties="a smaller picture has its own tokens"
    ),
    "evs": MethodCase(
        EVS(0.4), EVS(1.0), ties="a picture is new throughout, so tokens at even distances stay"
    ),
    "fastav": MethodCase(FastAV(0.6, least=0.2, start=2), FastAV(1.0, start=2)),
    "fastervlm": MethodCase(FasterVLM(0.4), FasterVLM(1.0)),
    "fastv": MethodCase(FastV(layer=2, keep_ratio=0.4), FastV(layer=2, keep_ratio=1.0)),
    "fitprune": MethodCase(FitPrune(EVERY_LAYER), FitPrune(NONE_GO)),
    "gridprune": MethodCase(
        GridPrune(0.4), GridPrune(1.0), ties="every zone has its part of the budget"
    ),
    "lvpruning": MethodCase(
        LVPruning(STAGES, weights_for("lvpruning")), LVPruning(NONE_GO, weights_for("lvpruning"))
    ),
    "norm": MethodCase(Norm(0.4), Norm(1.0)),
    "pact": MethodCase(PACT(layer=2), PACT(layer=2, keep_ratio=1.0, cutoff=0)),
    "pdrop": MethodCase(PDrop(STAGES), PDrop(NONE_GO)),
    "plphp": MethodCase(
        PLPHP(alpha=0.5, beta=0.4, layer=1),
        PLPHP(rate=1.0, step=0.0),
        drops=False,
        evicts=True,
    ),
    "pool": MethodCase(Pool(0.4), Pool(1.0), ties="one token per cell of the grid"),
    "prumerge": MethodCase(PruMerge(0.4), PruMerge(1.0), ties="one token stands for all that go"),
    "prunesid": MethodCase(
        PruneSID(0.4, scale=4.0), PruneSID(1.0), ties="every group has its part of the budget"
    ),
    "ptp": MethodCase(PTP(0.4), PTP(1.0), ties="tiles share the budget"),
    "random": MethodCase(Random(STAGES), Random(NONE_GO), ties="drawn at random"),
    "scope": MethodCase(SCOPE(0.4), SCOPE(1.0)),
    "shortv": MethodCase(ShortV((1, 3, 4, 7)), ShortV(()), drops=False),
    "sparsevlm": MethodCase(
        SparseVLM(STAGES),
        SparseVLM(NONE_GO),
        ties="the noise of the clustering decides",
        order=LAST,
    ),
    "star": MethodCase(STAR(0.6, {3: 0.4}), STAR(1.0, {3: 1.0})),
    "tome": MethodCase(ToMe(0.4), ToMe(1.0), ties="every second token is merged into the next"),
    "topv": MethodCase(
        TopV(layer=2, keep_ratio=0.4),
        TopV(layer=2, keep_ratio=1.0),
        ties="some of those that go are taken back at even distances",
    ),
    "transprune": MethodCase(TransPrune(STAGES), TransPrune(NONE_GO)),
    "uniform": MethodCase(Uniform(STAGES), Uniform(NONE_GO), ties="spread evenly"),
    "vflowopt": MethodCase(
        VFlowOpt(0.6, {3: 0.8, 5: 0.5}, context=1.2, cell=2.5),
        VFlowOpt(1.0, {3: 1.0, 5: 1.0}, context=1.2),
        ties="means of cells stay",
    ),
    "vispruner": MethodCase(
        VisPruner(0.4), VisPruner(1.0), ties="every second of the least salient is deleted"
    ),
    "visionzip": MethodCase(
        VisionZip(0.4), VisionZip(1.0), ties="contextual tokens are spread evenly"
    ),
    "vscan": MethodCase(
        VScan(0.5, {3: 0.5}),
        VScan(1.0, {3: 1.0}),
        ties="every window keeps some; equal tokens merge into the first",
    ),
}

# further settings that take another path through the runtime
VARIANTS = {
    "transprune-ttv": MethodCase(TransPrune(STAGES, alpha=1.0), TransPrune(NONE_GO, alpha=1.0)),
    "transprune-iga": MethodCase(TransPrune(STAGES, alpha=0.0), TransPrune(NONE_GO, alpha=0.0)),
    "transprune-no-accumulation": MethodCase(
        TransPrune(STAGES, accumulation=False, softmax_over="visual"),
        TransPrune(NONE_GO, accumulation=False),
    ),
    "cdpruner-embedding": MethodCase(
        CDPruner(0.4, relevance="embedding"), CDPruner(1.0, relevance="embedding")
    ),
    "fitprune-from-layer-0": MethodCase(
        FitPrune({1: 0.8, 2: 0.6, 5: 0.3}), FitPrune({1: 1.0, 5: 1.0})
    ),
    "gridprune-embedding": MethodCase(
        GridPrune(0.4, relevance="embedding"),
        GridPrune(1.0, relevance="embedding"),
        ties="every zone has its part of the budget",
    ),
    "divprune-proportional": MethodCase(
        DivPrune(0.3, proportional=True), DivPrune(1.0, proportional=True)
    ),
    "prumerge-fixed-plus": MethodCase(
        PruMerge.plus(keep=0.4), PruMerge.plus(keep=1.0), ties="patches at even distances are added"
    ),
    "star-instruction": MethodCase(
        STAR(0.6, {3: 0.4}, queries="instruction"), STAR(1.0, {3: 1.0}, queries="instruction")
    ),
    "vflowopt-without-means": MethodCase(
        VFlowOpt(0.4, None, context=0.0, cell=100.0), VFlowOpt(1.0, None, context=0.0)
    ),
    "lvpruning-modules": MethodCase(
        LVPruning(STAGES, weights_for("lvpruning"), decide="modules"),
        LVPruning(NONE_GO, weights_for("lvpruning")),
    ),
    "vscan-without-cut": MethodCase(
        VScan(0.4, None), VScan(1.0, None), ties="every window keeps some"
    ),
    "fastav-prefix": MethodCase(FastAV(0.7, prefix=0.8, least=0.4, start=3), FastAV(1.0, start=3)),
    "random-from-0": MethodCase(
        Random({0: 0.5, 3: 0.25}), Random({0: 1.0, 3: 1.0}), ties="drawn at random"
    ),
    "pact-merging-much": MethodCase(
        PACT(layer=3, keep_ratio=0.9, cutoff=0.9, recover=1.1),
        PACT(layer=3, keep_ratio=1.0, cutoff=0),
    ),
    "sparsevlm-plus": MethodCase(SparseVLM.plus(STAGES), SparseVLM.plus(NONE_GO)),
    "sparsevlm-no-noise": MethodCase(
        SparseVLM(STAGES, seed=None), SparseVLM(NONE_GO, seed=None), order=LAST
    ),
    "sparsevlm-rank": MethodCase(
        SparseVLM(STAGES, budget="rank", rank_scale=1.5, seed=None),
        SparseVLM(NONE_GO, budget="rank", rank_scale=1000),
        order=LAST,
    ),
    "shortv-of-another-depth": MethodCase(ShortV(), ShortV(count=0), drops=False),
}
CASES = METHODS | VARIANTS

# where only layers 3 and 7 have attention to read, as in tiny models with recurrent layers: one stage each, at the
# first boundary behind the one named that can be read
ONE_STAGE = {2: 0.5}
FEW_ATTEND = METHODS | {
    "adaptinfer": MethodCase(AdaptInfer(ONE_STAGE), AdaptInfer(NONE_GO)),
    "fastav": MethodCase(FastAV(0.5, least=0.5, start=2), FastAV(1.0, least=1.0, start=2)),
    "fitprune": MethodCase(FitPrune(ONE_STAGE), FitPrune(NONE_GO)),
    "pdrop": MethodCase(PDrop(ONE_STAGE), PDrop(NONE_GO)),
    "sparsevlm": MethodCase(SparseVLM(ONE_STAGE), SparseVLM(NONE_GO)),
    "transprune": MethodCase(TransPrune(ONE_STAGE), TransPrune(NONE_GO)),
}

# methods that between them take each path through the runtime: attention in front of and behind a boundary,
# evidence over layers, merging, key biases, freezing, every signal of the vision tower, and a composition
PROBES = frozenset(
    {
        "cdpruner",
        "compose",
        "divprune-proportional",
        "downsample",
        "fastv",
        "pact",
        "prumerge",
        "shortv",
        "sparsevlm",
        "transprune",
        "visionzip",
        "vscan",
    }
)
