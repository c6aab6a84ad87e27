"""How sure a difference is: paired bootstrap over images, and Holm's correction for asking many questions.

Answers about one picture are not independent, so pictures are drawn, with all their answers. The same draw is used for
every condition, which pairs them: what is hard about a picture is hard for all. Intervals are percentile intervals.
(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 15; Holm, Scand. J. Statistics 6, 1979.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

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
    """A difference with its interval, and what can be said about it.

    Attributes:
        p: two-sided bootstrap p-value of "no difference".
        holm_p: the same, corrected for all comparisons of the table that were made with one partner.
        verdict: `"better"` or `"worse"` where the interval excludes 0, else `"unclear"`.
    """

    p: float
    holm_p: float
    verdict: str

    @property
    def sure(self) -> bool:
        """Whether it also stands after Holm's correction."""
        return self.verdict != "unclear" and self.holm_p < 1 - LEVEL


def draw_weights(units: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each unit is drawn in each resample; the first row is the sample itself. -> [R + 1, U]."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(units, np.full(units, 1 / units), size=resamples)
    return np.concatenate([np.ones((1, units)), drawn])


def interval_of(values: Floats) -> Interval:
    """The interval of a statistic whose first value is that of the sample and the rest those of the resamples."""
    low, high = np.quantile(values[1:], ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(values[0]), float(low), float(high))


def difference_of(values: Floats, units: int | None = None) -> Difference:
    """The same for a difference, with its p-value; `holm_p` is filled in with all others at hand.

    Resamples of very few units promise too much: with two pictures that agree, every resample agrees. No two-sided
    paired test of n units can give less than 2^(1 - n) (the sign test), so p is never less, and where that alone is too
    much nothing is called different.
    """
    interval, resampled = interval_of(values), values[1:]
    side = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    least = 0.0 if units is None else 2.0 ** (1 - units)
    p = min(1.0, max(least, 2 * (side + 1) / (len(resampled) + 1)))
    verdict = "better" if interval.low > 0 else "worse" if interval.high < 0 else "unclear"
    if least > 1 - LEVEL:
        verdict = "unclear"
    return Difference(interval.value, interval.low, interval.high, p, p, verdict)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected so that the chance of any false "yes" among all of them stays at the level."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
