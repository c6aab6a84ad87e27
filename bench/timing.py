"""Paired timing: every contender once per round, in shuffled order, CPU time of one thread; ratios within a round.

Machines are shared and noisy, so a single time means little and a ratio within a round means a lot.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Times = dict[str, list[float]]


def paired(contenders: Mapping[str, Callable[[], Any]], rounds: int, seed: int = 0) -> Times:
    """CPU seconds of each contender in each round, after one uncounted round of all."""
    for run in contenders.values():
        run()
    order = list(contenders)
    shuffle = random.Random(seed).shuffle
    times: Times = {name: [] for name in contenders}
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            start = time.thread_time()
            contenders[name]()
            times[name].append(time.thread_time() - start)
    return times


def ratio(times: Times, name: str, base: str) -> dict[str, float]:
    """Median of the ratios within rounds, with the smallest and the largest."""
    ratios = np.array(times[name]) / np.array(times[base])
    return {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())}
