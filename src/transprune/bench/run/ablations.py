"""The seed paper's ablations as methods, by group; each variant changes one thing of TransPrune-High.

TransPrune (arXiv 2507.20630), section 4.3 and supplement. All run at one budget, so what a variant saves on scoring it
spends on tokens. Layers are written for 32 and scale with depth.
"""

from __future__ import annotations

from transprune.core.schedule import Schedule
from transprune.methods.common.method import Method
from transprune.methods.common.scheduled import HIGH
from transprune.methods.transprune import DIRECTIONS, TransPrune

DEPTH = 32
LAYER_GROUPS = ((5, 7, 10), (6, 8, 11), (7, 9, 12), (8, 10, 13), (9, 11, 14))
SHALLOW = (1, 3, 6)  # accumulation over layers 1, 1-3, 1-6
ALPHAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)


def ablations(num_layers: int) -> dict[str, dict[str, Method]]:
    """Group -> variant -> method, for a model of `num_layers`."""
    return {
        "layers": {f"layers={'-'.join(map(str, group))}": _at(group) for group in LAYER_GROUPS},
        "depth": _depth(num_layers),
        "accumulation layers": {
            **{
                f"accumulate=1-{last}": TransPrune.high(accumulate=range(1, last + 1))
                for last in SHALLOW
            },
            "accumulate=7-12": TransPrune.high(accumulate=range(7, 13)),
        },
        "accumulation": {
            f"accumulation={on}": TransPrune.high(accumulation=on) for on in (True, False)
        },
        "terms": {
            "magnitude": TransPrune.high(use_direction=False),
            "direction": TransPrune.high(use_magnitude=False),
            "both": TransPrune.high(),
            "ttv-magnitude": TransPrune.ttv(use_direction=False),
            "ttv-direction": TransPrune.ttv(use_magnitude=False),
        },
        "direction": {f"direction={name}": TransPrune.high(direction=name) for name in DIRECTIONS},
        "alpha": {f"alpha={alpha:g}": TransPrune.high(alpha=alpha) for alpha in ALPHAS},
        "positions": {
            f"positions={name}": TransPrune.high(positions=name) for name in ("keep", "renumber")
        },
    }


def _at(boundaries: tuple[int, ...]) -> TransPrune:
    ratios = [ratio for _, ratio in HIGH]
    return TransPrune(Schedule(zip(boundaries, ratios, strict=True), depth=DEPTH))


def _depth(num_layers: int) -> dict[str, Method]:
    """Boundaries in proportion to depth, and the paper's numbers as they stand where the model is deep enough."""
    variants: dict[str, Method] = {"depth=scaled": TransPrune.high()}
    if num_layers not in TransPrune.published_depths and num_layers > HIGH.boundaries[-1]:
        variants["depth=as-printed"] = TransPrune(Schedule(HIGH.keep))
    return variants
