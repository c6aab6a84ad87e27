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
from transprune.bench.results.statistics import RESAMPLES, draw_weights, interval_of
from transprune.errors import RecordError

from .answers import Answers
from .claim import HIGH_EXACT
from .verdict import Floats, Measured

# keys of the comparisons
FARTHER = "{} is farther from even than {}"
FROM_OBJECTS = "{} is farther from the objects than {}"
LOWER = "{}: lower minus upper half"

METHODS = (
    "transprune",
    "transprune-ttv",
    "transprune-iga",
    "fastv",
    "pdrop",
    "sparsevlm",
    "visionzip",
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
        from_objects: percent that would have to move for every row to have the share that tokens of
            objects have there, with its interval; empty where the objects are not known.
    """

    method: str
    side: int
    rate: tuple[float, ...]
    distance: float
    low: float
    high: float
    kept: float
    from_objects: tuple[float, ...] = ()

    @property
    def rows(self) -> list[float]:
        """Percent of the kept tokens in each row, from the top down."""
        return percent_by_row(self.rate)


def percent_by_row(rate: Sequence[float]) -> list[float]:
    """Percent in each row of a square of rates, from the top down."""
    shares: list[float] = (100 * _row_shares(np.array([rate]))[0]).tolist()
    return shares


def measure_places(
    answers: Answers, objects: Sequence[float] = (), resamples: int = RESAMPLES
) -> tuple[list[Places], dict[str, Measured]]:
    """Places of all methods that ran at High's budget, and the comparisons between them.

    Args:
        answers: of a run with the methods.
        objects: how often each token shows an object, [N]; empty if that is not known.
        resamples: of the pictures.

    Raises:
        RecordError: tokens that are no square of rows and columns.
    """
    # the share that every row should have, by the key of the comparison
    wanted = {FARTHER: np.array(1.0)}
    if objects:
        wanted[FROM_OBJECTS] = _row_shares(np.array([objects]))[0]

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
        places.append(_places(method, counts, len(records), shares[method], wanted))

    found: dict[str, Measured] = {}
    for farther, nearer in PAIRS:
        if farther not in shares or nearer not in shares:
            continue
        for key, rows in wanted.items():
            gap = _distance(shares[farther], rows) - _distance(shares[nearer], rows)
            found[key.format(farther, nearer)] = Measured.of(gap, pictures, questions)
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


def _distance(shares: Floats, wanted: Floats) -> Floats:
    """Percent that would have to move to another row, half the sum of deviations. -> [R].

    Args:
        shares: of the rows, [R, rows].
        wanted: shares to be reached, [rows]; one number for even rows.
    """
    target = wanted / wanted.sum() if wanted.ndim else np.full(shares.shape[1], 1 / shares.shape[1])
    moved: Floats = 50 * np.abs(shares - target).sum(axis=1)
    return moved


def _lower_half(shares: Floats) -> Floats:
    """Percent of the kept tokens in the lower half minus that in the upper one. -> [R].

    The middle row of an odd number belongs to neither.
    """
    half = shares.shape[1] // 2
    lean: Floats = 100 * (shares[:, -half:].sum(axis=1) - shares[:, :half].sum(axis=1))
    return lean


def _places(
    method: str, counts: Floats, questions: int, shares: Floats, wanted: Mapping[str, Floats]
) -> Places:
    side = isqrt(counts.shape[1])
    rate = counts.sum(axis=0) / questions
    distances = {key: _interval(_distance(shares, rows)) for key, rows in wanted.items()}
    value, low, high = distances[FARTHER]
    return Places(
        method=method,
        side=side,
        rate=tuple(np.round(rate, 4).tolist()),
        distance=value,
        low=low,
        high=high,
        kept=float(rate.sum()),
        from_objects=distances.get(FROM_OBJECTS, ()),
    )


def _interval(resampled: Floats) -> tuple[float, ...]:
    found = interval_of(resampled)
    return found.value, found.low, found.high
