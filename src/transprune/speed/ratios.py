"""Paired ratios: a method beside the unpruned model in the same round, over all rounds.

Machines are shared and noisy, so a single time means little and a ratio within a round a lot. The
interval of the median is the one between order statistics, which assumes nothing about the noise
(Conover, Practical Nonparametric Statistics, 3rd ed., 1999, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np

LEVEL = 0.95

Verdict = Literal["pays", "costs", "unclear"]


@dataclass(frozen=True)
class Ratio:
    """Ratios of paired rounds.

    Attributes:
        median: of the ratios.
        of_minima: the ratio of the smallest times, which other work on the machine hardly touches.
        low_quartile, high_quartile: the middle half of the ratios lies between them.
        low, high: interval of the median.
        level: its confidence; below 0.95 with fewer than six rounds.
        rounds: number of pairs.
    """

    median: float
    of_minima: float
    low_quartile: float
    high_quartile: float
    low: float
    high: float
    level: float
    rounds: int

    @property
    def verdict(self) -> Verdict:
        """`"pays"` or `"costs"` where the interval leaves out 1, else `"unclear"`."""
        if self.high < 1:
            return "pays"
        return "costs" if self.low > 1 else "unclear"


def paired_ratio(seconds: Sequence[float], base: Sequence[float]) -> Ratio:
    """Compare times with those of the same rounds of another run.

    Args:
        seconds: one time per round.
        base: the times that they are divided by.

    Raises:
        ValueError: no rounds, or different numbers of them.
    """
    if not seconds or len(seconds) != len(base):
        raise ValueError(f"expected pairs of times; got {len(seconds)} and {len(base)}")

    # pairs of one round: what slows the machine slows both
    ratios = np.divide(seconds, base)
    quartiles = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    low, high, level = median_interval(ratios.tolist())

    return Ratio(
        median=quartiles[1],
        of_minima=min(seconds) / min(base),
        low_quartile=quartiles[0],
        high_quartile=quartiles[2],
        low=low,
        high=high,
        level=level,
        rounds=len(ratios),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The narrowest symmetric interval of the median with 95 % confidence, and its level.

    With fewer than six values none has that much: it is the whole range, and the level says so.
    """
    ordered = sorted(values)
    count = len(ordered)

    # the median lies outside the k-th smallest and largest with twice P(fewer than k of n below it)
    cut, level = 0, _level(count, 0)
    while cut + 1 < (count + 1) // 2 and _level(count, cut + 1) >= LEVEL:
        cut += 1
        level = _level(count, cut)

    return ordered[cut], ordered[count - 1 - cut], level


def _level(count: int, cut: int) -> float:
    """Confidence of the interval that leaves out `cut` values on each side."""
    tail = sum(comb(count, below) for below in range(cut + 1)) / 2**count
    return max(0.0, 1 - 2 * tail)
