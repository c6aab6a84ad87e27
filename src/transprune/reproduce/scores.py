"""Scores with intervals from the records of one benchmark."""

from __future__ import annotations

from collections import defaultdict

from transprune.bench.data.benchmarks import Benchmark
from transprune.bench.data.metrics import METRICS, Floats
from transprune.bench.data.records import Record, Run
from transprune.bench.results.scores import score_resamples
from transprune.bench.results.statistics import draw_weights
from transprune.core.plan import UNPRUNED

RESAMPLES = 1000  # a benchmark of 40,000 pictures needs 320 MB for them


class BenchmarkScores:
    """The scores of every condition of a benchmark, in the sample and in resamples of its pictures.

    Args:
        run: answers to one benchmark.
        benchmark: which one.
    """

    def __init__(self, run: Run, benchmark: Benchmark) -> None:
        self._metric = METRICS[benchmark.metric]
        self._records: dict[str, dict[str, Record]] = defaultdict(dict)
        for record in run.records:
            self._records[record.condition][record.item] = record

        # one set of resamples for every condition, which pairs them
        names = sorted({record.image for record in run.records})
        self._unit = dict(zip(names, range(len(names)), strict=True))
        self._weights = draw_weights(max(1, len(names)), RESAMPLES)  # [R + 1, U]

    def records(self, key: str) -> list[Record]:
        """The answers under a condition."""
        return list(self._records[key].values())

    def score(self, key: str) -> Floats | None:
        """The score of a condition, 0..1, [R + 1]; None without answers."""
        return self._score(self.records(key))

    def pair(self, key: str) -> tuple[Floats, Floats] | None:
        """The scores of a condition and of the unpruned model on what both answered."""
        own = self._records[key]
        unpruned = self._records[UNPRUNED]
        shared = [item for item in own if item in unpruned]

        mine = self._score([own[item] for item in shared])
        full = self._score([unpruned[item] for item in shared])
        return None if mine is None or full is None else (mine, full)

    def _score(self, records: list[Record]) -> Floats | None:
        if not records:
            return None
        return score_resamples(self._metric, records, self._unit, self._weights)
