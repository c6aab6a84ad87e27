"""The methods that are timed, the limits of their ratios, and why some exceed them."""

from __future__ import annotations

from typing import Any

from transprune import Compose, DivPrune, Method, Random, TransPrune, Uniform, VisionZip
from transprune.methods.common.recipe import METHODS as REGISTRY

NAMED: dict[str, Method] = {
    "transprune-high": TransPrune.high(),
    "transprune-low": TransPrune.low(),
    "random-high": Random.high(),
    "uniform-high": Uniform.high(),
    "visionzip+transprune-low": Compose([VisionZip(192), TransPrune.low()]),
    "divprune-proportional": DivPrune(proportional=True),
}

# a random model has no text tower
SETTINGS: dict[str, dict[str, Any]] = {"cdpruner": {"relevance": "embedding"}}

# prefill time relative to the reference
LIMITS = {"transprune-high": 1.02}
DEFAULT_LIMIT = 1.03

# name -> the rest of a sentence that begins with it
WHY = {
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
    "pact": "compares the keys of 316 tokens pairwise, "
    "and those of the dropped ones with every centre, in fp32",
}


def _all_methods() -> dict[str, Method]:
    """The named methods, then every other registered one with its default settings."""
    methods = dict(NAMED)

    # compose needs parts; the other three are among the named ones
    for name in sorted({*REGISTRY} - {"compose", "random", "transprune", "uniform"}):
        methods[name] = REGISTRY.get(name)(**SETTINGS.get(name, {}))
    return methods


METHODS = _all_methods()
