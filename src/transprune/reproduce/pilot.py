"""How long the open answers take, from a few that are given twice before the work starts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from transprune.bench.run.answers import answer
from transprune.bench.run.prepared import PreparedQuestions
from transprune.reproduce.benchmark import BenchmarkRun
from transprune.reproduce.exhibits import Row


def expected_seconds(
    cells: Sequence[tuple[Row, str]], runs: Mapping[str, BenchmarkRun]
) -> tuple[float, int]:
    """Seconds of all open answers, and their number.

    One batch of each benchmark that has open answers is answered by the unpruned model, so pruned
    rows should take less.
    """
    keys: dict[str, list[str]] = {}
    for row, name in cells:
        # the same answers, scored in another way
        if runs[name].benchmark.answers_of in runs:
            continue
        keys.setdefault(name, []).append(row.recipe)

    seconds = 0.0
    total = 0
    for name, wanted in keys.items():
        # the records of a large benchmark take a minute to read, so only once for all rows
        count = runs[name].count_open(*wanted)
        total += count
        if count:
            seconds += count * _seconds_each(runs[name])

    return seconds, total


def _seconds_each(run: BenchmarkRun) -> float:
    """Seconds of one unpruned answer, its preparation included."""
    items = run.sample(run.plan.batch_size)
    if not items:
        return 0.0

    # the first batch also loads kernels
    longest = run.benchmark.new_tokens
    answer(PreparedQuestions(run.checkpoint, items), items, None, longest)
    start = time.perf_counter()
    answer(PreparedQuestions(run.checkpoint, items), items, None, longest)
    return (time.perf_counter() - start) / len(items)
