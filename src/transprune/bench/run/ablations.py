"""The ablations of the TransPrune paper; each variant changes one thing of TransPrune-High.

TransPrune (arXiv 2507.20630), section 4.3 and supplement. All variants run at one budget, so a
variant with cheaper scoring keeps more tokens. Layers are written for 32 and scale with depth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transprune.core.published import HIGH
from transprune.core.schedule import Schedule
from transprune.methods.common.method import Method
from transprune.methods.transprune import DIRECTIONS, TransPrune

DEPTH = 32  # layers of the paper's model
LAYER_GROUPS = ((5, 7, 10), (6, 8, 11), (7, 9, 12), (8, 10, 13), (9, 11, 14))
SHALLOW = (1, 3, 6)  # accumulation over layers 1, 1-3, 1-6
ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)


def ablations(num_layers: int) -> dict[str, dict[str, Method]]:
    """Group -> variant -> method, for a model of `num_layers`."""
    found = {
        "layers": _layers(),
        "depth": _depth(num_layers),
        "accumulation layers": _accumulation_layers(),
        "accumulation": _each("accumulation", (True, False)),
        "terms": _terms(),
    }

    # one setting at a time
    found["direction"] = _each("direction", DIRECTIONS)
    found["alpha"] = _each("alpha", ALPHAS)
    found["positions"] = _each("positions", ("keep", "renumber"))
    return found


def _each(setting: str, values: Iterable[Any]) -> dict[str, Method]:
    """One variant for each value of a setting."""
    variants: dict[str, Method] = {}
    for value in values:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        variants[f"{setting}={text}"] = TransPrune.high(**{setting: value})
    return variants


def _layers() -> dict[str, Method]:
    """TransPrune-High's ratios at other boundaries."""
    ratios = [ratio for _, ratio in HIGH]

    variants: dict[str, Method] = {}
    for boundaries in LAYER_GROUPS:
        schedule = Schedule(zip(boundaries, ratios, strict=True), depth=DEPTH)
        variants[f"layers={'-'.join(map(str, boundaries))}"] = TransPrune(schedule)
    return variants


def _depth(num_layers: int) -> dict[str, Method]:
    """Boundaries scaled with depth, and as printed if the model is deep enough for them."""
    variants: dict[str, Method] = {"depth=scaled": TransPrune.high()}

    # a schedule without a depth is used as it is
    deep_enough = num_layers > HIGH.boundaries[-1]
    if deep_enough and num_layers not in TransPrune.published_depths:
        variants["depth=as-printed"] = TransPrune(Schedule(HIGH.keep))
    return variants


def _accumulation_layers() -> dict[str, Method]:
    """Transitions accumulated over the first layers, and over the paper's own."""
    variants: dict[str, Method] = {}
    for last in SHALLOW:
        variants[f"accumulate=1-{last}"] = TransPrune.high(accumulate=range(1, last + 1))

    variants["accumulate=7-12"] = TransPrune.high(accumulate=range(7, 13))
    return variants


def _terms() -> dict[str, Method]:
    """The parts of the score: the transition's magnitude and direction, with and without IGA."""
    return {
        "magnitude": TransPrune.high(use_direction=False),
        "direction": TransPrune.high(use_magnitude=False),
        "both": TransPrune.high(),
        "ttv-magnitude": TransPrune.ttv(use_direction=False),
        "ttv-direction": TransPrune.ttv(use_magnitude=False),
    }
