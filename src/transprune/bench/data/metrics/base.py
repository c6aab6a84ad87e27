"""What a metric is: counts of each answer, and a score of summed counts.

An answer becomes a short vector of counts (`tally`), and the score of a task is a function of
summed vectors (`score`). So a metric is computed for all resamples at once: sums under other
weights are one matrix product.

Every score is in 0..1, larger is better.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Answered(Protocol):
    """The fields of a record that a metric uses."""

    @property
    def given(self) -> str:
        """The model's answer."""

    @property
    def answers(self) -> tuple[str, ...]:
        """The right answers."""

    @property
    def kind(self) -> str:
        """The kind of the question."""

    @property
    def item(self) -> str:
        """The id of the question."""

    @property
    def score(self) -> float:
        """0..1."""


class Metric(ABC):
    """How answers of a task are scored. Stateless."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def grade(self, given: str, answers: Sequence[str]) -> float:
        """The score of one answer, 0..1."""

    # the usual case is a mean; a metric such as F1 overrides both methods
    def tally(self, record: Answered) -> list[float]:
        """Counts of one answer [k], to be added up over a task."""
        return [record.score, 1.0]

    def tally_image(self, records: Sequence[Answered]) -> list[float]:
        """Counts of all answers about one image [k].

        An image is resampled as a whole, so a metric that scores several answers about it together
        (a pair, all orders of the options) overrides this one.
        """
        return list(np.sum([self.tally(record) for record in records], axis=0))

    def score(self, totals: Floats) -> Floats:
        """The task's score from summed counts [..., k] -> [...]; NaN where nothing was counted."""
        return ratio(totals[..., 0], totals[..., 1])

    def details(self, totals: Floats) -> dict[str, float]:
        """Further figures that papers report with this metric."""
        return {}


def ratio(part: Any, whole: Any) -> Floats:
    """part / whole; NaN for 0 / 0."""
    with np.errstate(all="ignore"):
        return np.true_divide(part, whole)


def nan_mean(values: Floats) -> Floats:
    """Mean over the last axis without NaN; NaN where all values are. [..., n] -> [...].

    `np.nanmean` warns in that case, and warnings are errors in our tests.
    """
    valid = ~np.isnan(values)
    total = np.where(valid, values, 0).sum(axis=-1)
    return ratio(total, valid.sum(axis=-1))
