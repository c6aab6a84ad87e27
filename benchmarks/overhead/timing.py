"""Paired timing: every contender once per round, in shuffled order, CPU time of one thread; ratios within a round.

Machines are shared and noisy, so a single time means little and a ratio within a round means a lot. Contenders that are
compared with each other form a group and run one right after the other.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Times = dict[str, list[float]]


def paired(groups: Sequence[Mapping[str, Callable[[], Any]]], rounds: int, seed: int = 0) -> Times:
    """CPU seconds of each contender in each round, after one uncounted round of all."""
    contenders = {name: run for group in groups for name, run in group.items()}
    for run in contenders.values():
        run()
    order = [list(group) for group in groups]
    shuffle = random.Random(seed).shuffle
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        shuffle(order)
        for group in order:
            shuffle(group)
            for name in group:
                start = time.thread_time()
                contenders[name]()
                times[name].append(time.thread_time() - start)
    return times


def ratio(times: Times, name: str, base: str) -> dict[str, float]:
    """Median of the ratios within rounds, with the smallest and the largest."""
    ratios = np.array(times[name]) / np.array(times[base])
    return {
        "median": float(np.median(ratios)),
        "min": float(ratios.min()),
        "max": float(ratios.max()),
    }
