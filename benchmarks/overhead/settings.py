"""The methods that are timed, the aims of their ratios, and why some exceed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transprune import Compose, DivPrune, Method, Random, TransPrune, Uniform, VisionZip
from transprune.errors import UnknownMethod
from transprune.methods.common.recipe import METHODS as REGISTRY

from .random_weights import weights_folder

# part -> minutes it takes on one core with its own number of rounds
MINUTES = {"host": 1, "kernels": 1, "ratio": 13, "nano": 2, "growth": 30}
PARTS = tuple(MINUTES)
QUICK_PARTS = PARTS[:4]
OUT = Path("out/overhead")

NAMED: dict[str, Method] = {
    "transprune-high": TransPrune.high(),
    "transprune-low": TransPrune.low(),
    "random-high": Random.high(),
    "uniform-high": Uniform.high(),
    "visionzip+transprune-low": Compose([VisionZip(192), TransPrune.low()]),
    "divprune-proportional": DivPrune(proportional=True),
}

# a random model has no text tower
EMBEDDING = {"relevance": "embedding"}
SETTINGS: dict[str, dict[str, Any]] = {
    "atp": EMBEDDING,
    "cdpruner": EMBEDDING,
    "gridprune": EMBEDDING,
}

# timed beside the reference by default: the two presets, and a control that scores nothing
USUAL = ("transprune-high", "transprune-low", "random-high")

# on a prompt of few visual tokens, where VisionZip's 64 and more would keep all
SMALL = ("transprune-high", "transprune-low", "fastv", "visionzip", "pdrop", "sparsevlm")
SMALL_KEEP = 0.5

# aims: prefill beside the reference, by dtype for TransPrune-High and for all others
HIGH_LIMITS = {"bfloat16": 1.015, "float32": 1.010}
DEFAULT_LIMIT = 1.03

# aims of TransPrune-High beside the unpruned model, where the layers cost next to nothing
HOST_PREFILL = 1.15
HOST_DECODE = 1.02  # of all methods: what they chose does not matter any more
OPERATIONS = 1.15

# aim of TransPrune-High with the bundled model at batch 1
NANO_PREFILL = 1.00

# name -> the rest of a sentence that begins with it
WHY = {
    "plphp": "reads an attention row in every layer, and saves no work of the prefill",
    "divprune": "compares all pairs of features in fp32 (0.7 GFLOP), "
    "and its prefill is only a tenth of the unpruned one",
    "divprune-proportional": "does the same as divprune, finds the nearest kept token of each "
    "dropped one, and biases its masks",
    "cdpruner": "compares all pairs of features in fp32 and selects one token after another",
    "prumerge": "finds the nearest 32 patches of every kept one, "
    "and its prefill is only a tenth of the unpruned one",
    "vscan": "reads two layers of the tower and merges all other tokens, "
    "and its prefill is only a sixth of the unpruned one",
    "sparsevlm": "clusters the dropped tokens at each boundary, which compares them pairwise",
    "vispruner": "removes near-duplicates step by step, by pairwise comparisons, "
    "and its prefill is only a quarter of the unpruned one",
    "transprune-high": "projects and rotates keys of tokens that are then dropped, "
    "and measures twelve transitions",
    "visionzip+transprune-low": "scores twice, and its prefill is only a sixth of the unpruned one",
    "fitprune": "sums the attention that every token receives in thirty layers, which fused kernels do "
    "not give, and drops tokens behind a layer's attention",
    "prunesid": "finds the eigenvectors of all pairs of patches in fp32 and suppresses near-duplicates "
    "one after another, and its prefill is only a fifth of the unpruned one",
    "scope": "compares all pairs of patches in fp32 and picks one token after another",
    "apet": "picks its basis one token after another in fp32, "
    "and its prefill is only a sixth of the unpruned one",
    "pact": "compares the keys of 316 tokens pairwise, "
    "and those of the dropped ones with every centre, in fp32",
}


def _all_methods() -> dict[str, Method]:
    """The named methods, then every other registered one with its default settings."""
    methods = dict(NAMED)

    # compose needs parts; the other three are among the named ones
    for name in sorted({*REGISTRY} - {"compose", "random", "transprune", "uniform"}):
        cls = REGISTRY.get(name)
        settings = SETTINGS.get(name, {})
        if cls.fidelity == "trained":
            settings = {"weights": weights_folder(name)}
        methods[name] = cls(**settings)
    return methods


METHODS = _all_methods()


def chosen_methods(text: str) -> list[str]:
    """Names in a comma-separated text; `"all"` for every method.

    Raises:
        UnknownMethod: a name that is not in `METHODS`.
    """
    if text == "all":
        return list(METHODS)

    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UnknownMethod(
            f"no method {', '.join(map(repr, unknown))} here; known: {', '.join(METHODS)}, or 'all'"
        )
    return names


def small_methods() -> dict[str, Method]:
    """The methods that are timed on a prompt of few visual tokens."""
    methods = {name: METHODS[name] for name in SMALL}
    methods["visionzip"] = VisionZip(SMALL_KEEP)
    return methods
