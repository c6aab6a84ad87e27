"""Accuracies and their differences, from runs of `transprune bench`.

Every interval is a paired bootstrap over pictures, as in the benchmark's own table: a run's
differences here and there are the same. Both methods of a pair come from one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from transprune.bench.data.manifest import Condition
from transprune.bench.data.records import Run
from transprune.bench.results.scores import Scores, relative_accuracy
from transprune.bench.results.statistics import RESAMPLES, interval_of
from transprune.core.plan import UNPRUNED

from .chosen import is_at
from .claim import Pair
from .verdict import Floats, Measured


@dataclass(frozen=True)
class CostRow:
    """One method at a cost.

    Attributes:
        method: its name in the run.
        share, convention: the cost at which it is listed.
        exact, paper: its measured costs by both conventions, mean over prompts.
        value, low, high: `Acc.` with its 95 % interval.
        pictures, questions: what it rests on.
    """

    method: str
    share: float
    convention: str
    exact: float
    paper: float
    value: float
    low: float
    high: float
    pictures: int
    questions: int


class Answers:
    """A run with the resamples of its pictures.

    Attributes:
        run: the run; conditions without answers are not used.
    """

    def __init__(self, run: Run, resamples: int = RESAMPLES) -> None:
        self.run = run
        self._scores = Scores(run, resamples, seed=0)
        self._known: dict[str, Floats] = {}

    @property
    def images(self) -> list[str]:
        """The picture of every question."""
        return [record.image for record in self._scores.answers[UNPRUNED].values()]

    def find(self, method: str, share: float, convention: str) -> Condition | None:
        """The condition of a method that is nearest to a cost; None if none is near."""
        found = []
        for condition in self.run.manifest.conditions:
            answered = condition.name in self._scores.answers
            if answered and is_at(condition, (method, share, convention)):
                cost = condition.exact_share if convention == "exact" else condition.paper_share
                found.append((abs(cost - share), condition.name, condition))
        return min(found)[2] if found else None

    def difference(self, pair: Pair) -> Measured | None:
        """The accuracy of the better method minus the other's; None if one of them did not run."""
        better = self.find(pair.better, pair.share, pair.convention)
        worse = self.find(pair.worse, pair.share, pair.convention)
        if better is None or worse is None:
            return None

        resampled = self._accuracy(better.name) - self._accuracy(worse.name)
        return Measured.of(resampled, self._scores.images, self._questions)

    def row(self, method: str, share: float, convention: str) -> CostRow | None:
        """A method at a cost; None if it did not run there."""
        condition = self.find(method, share, convention)
        if condition is None:
            return None

        interval = interval_of(self._accuracy(condition.name))
        records = list(self._scores.answers[condition.name].values())
        return CostRow(
            method=method,
            share=share,
            convention=convention,
            exact=fmean(record.exact_share for record in records),
            paper=fmean(record.paper_share for record in records),
            value=interval.value,
            low=interval.low,
            high=interval.high,
            pictures=self._scores.images,
            questions=self._questions,
        )

    @cached_property
    def _questions(self) -> int:
        return len(self._scores.answers[UNPRUNED])

    def _accuracy(self, condition: str) -> Floats:
        """`Acc.` of a condition, [R + 1]."""
        if condition not in self._known:
            keys = self._scores.shared(condition)
            own = self._scores.by_task(condition, keys)
            unpruned = self._scores.by_task(UNPRUNED, keys)
            self._known[condition] = relative_accuracy(own, unpruned)
        return self._known[condition]


def differences(runs: Sequence[Answers], pairs: Iterable[Pair]) -> dict[str, Measured]:
    """Every pair that some run has, by its key; the first run that has it counts."""
    found: dict[str, Measured] = {}
    for pair in pairs:
        for answers in runs:
            measured = answers.difference(pair)
            if measured is not None:
                found[pair.key] = measured
                break
    return found


def cost_rows(
    runs: Sequence[Answers], methods: Sequence[str], costs: Sequence[tuple[float, str]]
) -> list[CostRow]:
    """The methods at each of the costs, as far as a run has them."""
    rows = []
    for share, convention in costs:
        for method in methods:
            found = [answers.row(method, share, convention) for answers in runs]
            rows += [row for row in found if row is not None][:1]
    return rows
