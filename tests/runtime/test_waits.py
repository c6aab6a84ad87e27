"""A prefill waits for the device at most twice, a decode step never, whatever the method and however large the batch."""

from __future__ import annotations

import warnings

import pytest

from families.cases import FAMILIES, greedy
from methods.cases import CASES
from runtime.waits import counted_waits
from transprune import prune
from transprune.errors import PruneWarning

MOST = 2  # one copy of the prompt's ids and masks; the flags of the pass before, when they are read

# number of further waits of a prefill with one pool, and why the definition needs them
NEEDED: dict[str, tuple[int, str]] = {}


def count(model, method, inputs):
    """Waits of a prefill, and of a prefill with two steps of decoding, after one that was not counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)
        with prune(model, method):
            greedy(model, inputs, steps=1)
            with counted_waits() as first:
                greedy(model, inputs, steps=1)
            with counted_waits() as three:
                greedy(model, inputs, steps=3)
    return first, three


def batch_of(case, size):
    """One sample, or so many of four shapes."""
    shapes = [([0], [3, 6]), ([0, 1], [3, 2, 6]), ([1], [1, 4]), ([2], [5, 3])]
    samples = [case.sample(*shapes[number % 4], seed=number) for number in range(size)]
    return case.batch(samples)


@pytest.mark.parametrize("size", [1, 8], ids=["alone", "ragged"])
@pytest.mark.parametrize("name", CASES)
def test_a_prefill_does_not_wait(zoo, family, name, size):
    case = CASES[name]
    if family in case.refuses:
        pytest.skip(case.refuses[family])
    first, three = count(zoo(family, "sdpa"), case.method, batch_of(FAMILIES[family], size))
    needed, _ = NEEDED.get(name, (0, ""))
    assert first.total <= MOST + needed * size, f"{name} on {family}: {first}"
    assert three.total == first.total, f"{name} on {family}, with two more steps: {three}"
