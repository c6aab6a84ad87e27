"""Paired timing: CPU time of one thread, every contender once per round.

Machines are shared and noisy, so a single time means little. Contenders that are compared with each
other form a group and run one right after the other, in another order in each round. Two figures
come out of the rounds: the ratio of the medians, and the ratio of the minima, which a busy machine
moves less. Where they disagree about an aim, the noise is larger than the difference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

Times = dict[str, list[float]]


@dataclass(frozen=True)
class Contender:
    """A run to be timed.

    Attributes:
        run: the part that is timed.
        inside: makes a context, such as a session, that is entered before the clock starts.
    """

    run: Callable[[], Any]
    inside: Callable[[], AbstractContextManager[Any]] = nullcontext


Group = Mapping[str, Contender]


def paired(groups: Sequence[Group], rounds: int, *, calls: int = 1, seed: int = 0) -> Times:
    """Time every contender once per round, after one uncounted round of all.

    Args:
        groups: contenders by name; those of one group run one right after the other.
        rounds: how many times each is timed.
        calls: runs that are averaged into one time. From 2 on, one more goes uncounted before
            them, because short runs are slow just after another contender.
        seed: of the order within the rounds.

    Returns:
        CPU seconds of one call, by name, one per round.
    """
    contenders: dict[str, Contender] = {}
    for group in groups:
        contenders.update(group)

    # the first run of each allocates memory and chooses kernels
    for contender in contenders.values():
        _time(contender, 1)

    order = [list(group) for group in groups]
    times: Times = {name: [] for name in contenders}
    shuffle = random.Random(seed).shuffle

    for _ in range(rounds):
        # in another order each time, so that no contender always follows the same one
        shuffle(order)
        for names in order:
            shuffle(names)
            for name in names:
                times[name].append(_time(contenders[name], calls))
    return times


def _time(contender: Contender, calls: int) -> float:
    """CPU seconds of one call."""
    with contender.inside():
        if calls > 1:
            contender.run()

        start = time.thread_time()
        for _ in range(calls):
            contender.run()
        return (time.thread_time() - start) / calls


def ratio(times: Times, name: str, base: str) -> dict[str, float]:
    """How `name` compares with `base`.

    Returns:
        `ratio` of the medians, ratio of the `minima`, and `low` and `high`, the quartiles of the
        ratios within rounds.
    """
    above = np.array(times[name])
    below = np.array(times[base])
    low, high = np.quantile(above / below, (0.25, 0.75))

    return {
        "ratio": float(np.median(above) / np.median(below)),
        "minima": float(above.min() / below.min()),
        "low": float(low),
        "high": float(high),
    }
