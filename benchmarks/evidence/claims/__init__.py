"""The claims of the TransPrune paper, in the order of the page.

Li et al., CVPR 2026, https://arxiv.org/abs/2507.20630, and its supplement.
"""

from __future__ import annotations

from ..claim import Claim
from .cost import BEHIND_OTHERS, HIGH_CLAIM, LOW_CLAIM
from .inside import BIAS, SIGNAL
from .score import ALPHA, DIRECTION, TERMS, TOGETHER
from .where import ACCUMULATION, BOUNDARIES, LAYERS, SHAPE

CLAIMS: tuple[Claim, ...] = (
    SIGNAL,
    TOGETHER,
    TERMS,
    DIRECTION,
    ALPHA,
    LAYERS,
    ACCUMULATION,
    BOUNDARIES,
    SHAPE,
    BIAS,
    HIGH_CLAIM,
    LOW_CLAIM,
    BEHIND_OTHERS,
)
