"""Rounds in which every variant runs once, in another order each time; failures are results too."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from transprune.errors import PruneError
from transprune.models.memory import is_out_of_memory, release_memory
from transprune.models.source import first_line
from transprune.speed.runs import Times

T = TypeVar("T")
Run = Callable[[], Times]
Kind = Literal["out of memory", "not supported", "failed"]


@dataclass(frozen=True)
class Failure:
    """Why a variant has no figures.

    Attributes:
        kind: no memory, refused by transprune, or any other error of the model.
        reason: the error in one line.
    """

    kind: Kind
    reason: str


@dataclass
class Outcome:
    """Times of all variants, and why others have none.

    Attributes:
        samples: variant -> its times, one per round; all have equally many.
        failures: variant -> its failure.
    """

    samples: dict[str, list[Times]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)


def interleave(
    runs: Mapping[str, Run],
    rounds: int,
    *,
    least: int = 1,
    seed: int = 0,
    enough: Callable[[int], bool] = lambda done: False,
) -> Outcome:
    """Run every variant once per round, in shuffled order.

    Args:
        runs: variant -> one timed run of it, which has been run before.
        rounds: how many at most.
        least: rounds that are run even if `enough` says otherwise.
        seed: of the order.
        enough: called with the number of rounds so far; true ends them.

    Returns:
        The times. A variant that fails in any round has none.
    """
    outcome = Outcome(samples={name: [] for name in runs})
    shuffle = random.Random(seed).shuffle

    for number in range(rounds):
        if number >= least and enough(number):
            break

        # in another order each time, so that no variant always follows the same one
        order = list(outcome.samples)
        shuffle(order)
        for name in order:
            result = attempt(runs[name])
            if isinstance(result, Failure):
                outcome.failures[name] = result
                del outcome.samples[name]
            else:
                outcome.samples[name].append(result)

    return outcome


def attempt(run: Callable[[], T]) -> T | Failure:
    """The result of one run, or why it has none; the memory of a failed run is given back.

    Any error becomes a failure, which is recorded and shown: that of one variant should not cost
    the figures of all others.
    """
    try:
        return run()
    except Exception as error:
        failure = Failure(_kind(error), first_line(error))

    # behind the handler: the traceback of the error holds the tensors of the failed run
    release_memory()
    return failure


def _kind(error: BaseException) -> Kind:
    if isinstance(error, PruneError):
        return "not supported"
    return "out of memory" if is_out_of_memory(error) else "failed"
