"""Paired timing: CPU time of one thread, every contender once per round, ratios within a round.

Machines are shared and noisy, so a single time means little, and a ratio within a round means a
lot. Contenders that are compared with each other form a group and run one right after the other.
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
    contenders: dict[str, Callable[[], Any]] = {}
    for group in groups:
        contenders.update(group)

    # the first run of each allocates memory and chooses kernels
    for run in contenders.values():
        run()

    order = [list(group) for group in groups]
    times: Times = {name: [] for name in contenders}
    shuffle = random.Random(seed).shuffle

    for _ in range(rounds):
        # in another order each time, so that no contender always follows the same one
        shuffle(order)
        for names in order:
            shuffle(names)
            for name in names:
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
