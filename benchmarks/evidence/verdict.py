"""From an interval to a word, by one rule for every claim and every model.

A comparison is a difference that is positive if the claim is right. It holds if its 95 % interval
is above zero, does not hold if it is below, and anything else cannot be told.

A claim made of several comparisons holds if all of them hold, which needs no correction. It does
not hold if one of them does not, also after Holm's correction over the comparisons of this claim:
of many comparisons some are reversed by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transprune.bench.results.statistics import LEVEL, difference_of, holm
from transprune.errors import BenchError

HOLDS = "holds"
FAILS = "does not hold"
UNCLEAR = "cannot tell"
MISSING = "not measured yet"

Floats = NDArray[np.float64]

_WORDS = {"better": HOLDS, "worse": FAILS, "unclear": UNCLEAR}


@dataclass(frozen=True)
class Measured:
    """A difference, positive if the claim is right, with its 95 % interval.

    Attributes:
        value, low, high: the difference and its interval.
        p: two-sided bootstrap p-value of "no difference".
        word: `HOLDS`, `FAILS` or `UNCLEAR`.
        pictures, questions: what it rests on.
    """

    value: float
    low: float
    high: float
    p: float
    word: str
    pictures: int
    questions: int

    @classmethod
    def of(cls, resampled: Floats, pictures: int, questions: int) -> Measured:
        """The interval of a difference [R + 1]: in the sample first, then in its resamples.

        Args:
            resampled: float [R + 1].
            pictures: how many were resampled; with fewer than six nothing is decided.
            questions: how many the difference rests on.

        Raises:
            BenchError: a difference that is not finite, which no interval can have.
        """
        finite = np.isfinite(resampled)
        if not finite.all():
            raise BenchError(
                f"expected finite differences; {np.count_nonzero(~finite)} of {len(finite)} resamples "
                "have none. A task without a right answer, or too few pictures, does this."
            )

        found = difference_of(resampled, pictures)
        word = _WORDS[found.verdict]
        return cls(found.value, found.low, found.high, found.p, word, pictures, questions)


def judge(comparisons: Sequence[Measured | None]) -> str:
    """The verdict on a claim; None stands for a comparison that was not measured.

    Returns:
        `MISSING` if nothing was measured, else `FAILS`, `UNCLEAR` or `HOLDS` as the module says. With
        a comparison missing a claim can fail, but never hold.
    """
    measured = [one for one in comparisons if one is not None]
    if not measured:
        return MISSING

    corrected = holm([one.p for one in measured])
    for one, p in zip(measured, corrected, strict=True):
        if one.word == FAILS and p < 1 - LEVEL:
            return FAILS

    complete = len(measured) == len(comparisons)
    if complete and all(one.word == HOLDS for one in measured):
        return HOLDS
    return UNCLEAR
