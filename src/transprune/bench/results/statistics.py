"""How certain a difference is: a paired bootstrap over images, and Holm's correction.

Answers about one picture are not independent, so pictures are resampled, each with all its answers.
Every condition uses the same resamples, which pairs them: a hard picture is hard for all. Intervals
are percentile intervals. (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13
and 15; Holm, Scand. J. Statistics 6, 1979.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transprune.bench.data.metrics import Floats

LEVEL = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A difference with its interval and its p-values.

    Attributes:
        p: two-sided bootstrap p-value of "no difference".
        holm_p: the same, corrected for all comparisons of the table with the same partner.
        verdict: `"better"` or `"worse"` where the interval excludes 0, else `"unclear"`.
    """

    p: float
    holm_p: float
    verdict: str

    @property
    def sure(self) -> bool:
        """Whether the difference remains significant after Holm's correction."""
        return self.verdict != "unclear" and self.holm_p < 1 - LEVEL


def draw_weights(units: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each of U units is drawn in each of R resamples. -> [R + 1, U].

    The first row is the sample itself, each unit once.
    """
    rng = np.random.default_rng(seed)
    shares = np.full(units, 1 / units)
    drawn = rng.multinomial(units, shares, size=resamples)  # [R, U]
    return np.concatenate([np.ones((1, units)), drawn])


def interval_of(values: Floats) -> Interval:
    """The interval of a statistic [R + 1]: first its value in the sample, then in the resamples."""
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(values[1:], tails)
    return Interval(float(values[0]), float(low), float(high))


def difference_of(values: Floats, units: int | None = None) -> Difference:
    """The interval of a difference [R + 1], with its p-value and verdict.

    `holm_p` equals `p` here; it is corrected when all comparisons of the table are known.

    Resamples of very few units promise too much: with two pictures that agree, every resample
    agrees. No two-sided paired test of n units can give less than 2^(1 - n) (the sign test), so `p`
    is never less, and where that alone exceeds 5 % no difference is reported.
    """
    interval = interval_of(values)
    resampled = values[1:]

    # the smaller tail, counting the sample itself (+ 1), so that p is never 0
    below = np.count_nonzero(resampled <= 0)
    above = np.count_nonzero(resampled >= 0)
    two_sided = float(2 * (min(below, above) + 1) / (len(resampled) + 1))

    smallest_p = 0.0 if units is None else 2.0 ** (1 - units)
    p = min(1.0, max(smallest_p, two_sided))

    verdict = "unclear"
    if smallest_p <= 1 - LEVEL:
        if interval.low > 0:
            verdict = "better"
        elif interval.high < 0:
            verdict = "worse"
    return Difference(interval.value, interval.low, interval.high, p, p, verdict)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected so that the chance of any false positive among all stays at the level."""
    corrected = [0.0] * len(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)

    # the smallest of m p-values is multiplied by m, the next by m - 1, and so on;
    # a corrected value is never below that of a smaller p-value
    highest = 0.0
    for rank, index in enumerate(order):
        scaled = (len(p_values) - rank) * p_values[index]
        highest = max(highest, min(1.0, scaled))
        corrected[index] = highest

    return corrected
