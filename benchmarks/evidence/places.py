"""Where a run kept tokens: rows of the picture, and how far from even they are.

A record of `transprune bench` has the numbers of the tokens that stayed behind each boundary, row by
row of the picture. The tokens of the last boundary are counted here, as in Figure 4 of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from transprune.bench.data.records import Record
from transprune.bench.results.statistics import RESAMPLES, draw_weights
from transprune.errors import RecordError

from .answers import Answers
from .claim import HIGH_EXACT
from .verdict import Floats, Measured

# keys of the comparisons
FARTHER = "{} is farther from even than {}"
LOWER = "{}: lower minus upper half"

# a control shows what chance alone gives
METHODS = (
    "transprune",
    "transprune-ttv",
    "transprune-iga",
    "fastv",
    "pdrop",
    "sparsevlm",
    "visionzip",
    "random",
)
PAIRS = (("transprune-iga", "transprune-ttv"), ("fastv", "transprune"))


@dataclass(frozen=True)
class Places:
    """Where one method kept tokens at High's budget.

    Attributes:
        method: its name in the run.
        side: rows and columns of the picture.
        rate: how often each token stayed to the end, `side * side` numbers from 0 to 1.
        distance, low, high: percent of the kept tokens that would have to move to another row for
            all rows to have as many, with its 95 % interval.
        kept: mean number of tokens kept to the end.
    """

    method: str
    side: int
    rate: tuple[float, ...]
    distance: float
    low: float
    high: float
    kept: float

    @property
    def rows(self) -> list[float]:
        """Percent of the kept tokens in each row, from the top down."""
        sums = np.reshape(self.rate, (self.side, self.side)).sum(axis=1)
        shares: list[float] = (100 * sums / sums.sum()).tolist()
        return shares


def measure_places(
    answers: Answers, resamples: int = RESAMPLES
) -> tuple[list[Places], dict[str, Measured]]:
    """Places of all methods that ran at High's budget, and the comparisons between them.

    Args:
        answers: of a run with the methods.
        resamples: of the pictures.

    Raises:
        RecordError: tokens that are no square of rows and columns.
    """
    places = []
    shares: dict[str, Floats] = {}
    pictures = questions = 0
    for method in METHODS:
        condition = answers.find(method, HIGH_EXACT, "exact")
        if condition is None:
            continue

        records = [record for record in answers.run.records if record.condition == condition.name]
        counts = _counts(records)  # [U, N]
        weights = draw_weights(len(counts), resamples)
        shares[method] = _row_shares(weights @ counts)  # [R + 1, rows]
        pictures, questions = len(counts), len(records)
        places.append(_places(method, counts, len(records), _distance(shares[method])))

    found: dict[str, Measured] = {}
    for farther, nearer in PAIRS:
        if farther in shares and nearer in shares:
            gap = _distance(shares[farther]) - _distance(shares[nearer])
            found[FARTHER.format(farther, nearer)] = Measured.of(gap, pictures, questions)
    for method, values in shares.items():
        lean = _lower_half(values)
        found[LOWER.format(method)] = Measured.of(lean, pictures, questions)
    return places, found


def _counts(records: Sequence[Record]) -> Floats:
    """How often each token of each picture stayed to the end, [U, N]."""
    by_image: dict[str, Floats] = {}
    tokens = records[0].visual_tokens
    if isqrt(tokens) ** 2 != tokens or any(record.visual_tokens != tokens for record in records):
        raise RecordError(
            f"{records[0].condition}: rows are known of square pictures with equally many tokens; "
            f"got {sorted({record.visual_tokens for record in records})[:5]}"
        )

    # every method of a run has the same pictures, so sorted names give the same rows
    for record in sorted(records, key=lambda one: one.image):
        count = by_image.setdefault(record.image, np.zeros(tokens))
        count[_final(record.kept, tokens)] += 1
    return np.stack(list(by_image.values()))


def _final(kept: Mapping[int, Sequence[int]], tokens: int) -> Sequence[int]:
    """The tokens behind the last boundary; all of them where nothing was dropped."""
    return kept[max(kept)] if kept else range(tokens)


def _row_shares(counts: Floats) -> Floats:
    """Share of the kept tokens in each row. [R, N] -> [R, rows]."""
    side = isqrt(counts.shape[1])
    rows = counts.reshape(len(counts), side, side).sum(axis=2)
    shares: Floats = rows / rows.sum(axis=1, keepdims=True)
    return shares


def _distance(shares: Floats) -> Floats:
    """Percent that would have to move to another row, half the sum of deviations. -> [R]."""
    even = 1 / shares.shape[1]
    moved: Floats = 50 * np.abs(shares - even).sum(axis=1)
    return moved


def _lower_half(shares: Floats) -> Floats:
    """Percent of the kept tokens in the lower half minus that in the upper one. -> [R].

    The middle row of an odd number belongs to neither.
    """
    half = shares.shape[1] // 2
    lean: Floats = 100 * (shares[:, -half:].sum(axis=1) - shares[:, :half].sum(axis=1))
    return lean


def _places(method: str, counts: Floats, questions: int, distance: Floats) -> Places:
    side = isqrt(counts.shape[1])
    rate = counts.sum(axis=0) / questions
    low, high = np.quantile(distance[1:], (0.025, 0.975))
    return Places(
        method=method,
        side=side,
        rate=tuple(np.round(rate, 4).tolist()),
        distance=float(distance[0]),
        low=float(low),
        high=float(high),
        kept=float(rate.sum()),
    )
