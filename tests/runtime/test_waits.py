"""A prefill waits for the device at most twice, a decode step never, whatever the method and the size of the batch."""

from __future__ import annotations

import warnings

import pytest

from families.cases import FAMILIES, greedy
from methods.cases import CASES, MethodCase
from runtime.waits import counted_waits
from transprune import prune
from transprune.errors import PruneWarning
from transprune.methods import PruMerge
from transprune.runtime import passes

MOST = (
    2  # the prompt's ids and masks, with the flags of the pass before; rows of the tower by content
)

# further waits of each pool, and why the definition of the method needs them
NEEDED = {
    "pact": (1, "how many clusters there are comes out of the keys"),
    "pact-merging-much": (1, "the same"),
    "sparsevlm-rank": (3, "at each of three boundaries the rank of the attention is the budget"),
    "asymvlm": (1, "how many tokens have the mass comes out of their ratings"),
    "lvpruning-modules": (3, "at each of three boundaries the module decides how many stay"),
    "prunesid": (
        1,
        "the groups are principal components, and eigenvectors are checked on the host",
    ),
    "prumerge-adaptive": (1, "how many patches are outliers comes out of the attention"),
    "prumerge-adaptive-plus": (1, "the same"),
}
ADAPTIVE = {
    "prumerge-adaptive": MethodCase(PruMerge(), PruMerge(1.0)),
    "prumerge-adaptive-plus": MethodCase(PruMerge.plus(), PruMerge(1.0)),
}
EVERY = CASES | ADAPTIVE


@pytest.fixture(autouse=True)
def flags_wait_for_the_next_prompt(monkeypatch):
    """As on a GPU; on a CPU they are read at once, because nothing has to be waited for."""
    monkeypatch.setattr(passes, "is_free", lambda device: False)


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
@pytest.mark.parametrize("name", EVERY)
def test_a_prefill_does_not_wait(zoo, family, name, size):
    case = EVERY[name]
    if family in case.refuses:
        pytest.skip(case.refuses[family])
    first, three = count(zoo(family, "sdpa"), case.method, batch_of(FAMILIES[family], size))
    needed, _ = NEEDED.get(name, (0, ""))
    assert first.total >= 1, "the prompt is copied in any case"
    assert first.total <= MOST + needed * size, f"{name} on {family}: {first}"
    assert three.total == first.total, f"{name} on {family}, with two more steps: {three}"
