"""Rounds: every variant once in each, in changing order, and failures that leave the others be."""

from __future__ import annotations

import pytest
import torch

from transprune.errors import MissingSignal
from transprune.speed.rounds import Failure, attempt, interleave


def recorder(log, name):
    def run():
        log.append(name)
        return {"prefill": float(len(log))}

    return run


def test_every_variant_runs_once_per_round_in_changing_order():
    log = []
    outcome = interleave({name: recorder(log, name) for name in "abc"}, 8)

    rounds = [log[start : start + 3] for start in range(0, 24, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 2
    assert {name: len(times) for name, times in outcome.samples.items()} == dict.fromkeys("abc", 8)


def test_the_order_follows_from_the_seed():
    def order(seed):
        log = []
        interleave({name: recorder(log, name) for name in "abcd"}, 3, seed=seed)
        return log

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_rounds_end_when_it_is_enough_but_not_before_the_least():
    done = []

    def enough(count):
        done.append(count)
        return count >= 4

    assert len(interleave({"a": dict}, 9, enough=enough).samples["a"]) == 4
    assert done == [1, 2, 3, 4]
    assert len(interleave({"a": dict}, 9, least=6, enough=lambda done: True).samples["a"]) == 6


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory"),
        (MemoryError("no memory"), "out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 byte"),
            "out of memory",
        ),
        (MissingSignal("this tower has no CLS token"), "not supported"),
        (RuntimeError("shapes do not fit"), "failed"),
        (ValueError("a bug"), "failed"),
    ],
)
def test_an_error_becomes_a_failure_with_its_reason(error, kind):
    assert attempt(raising(error)) == Failure(kind, str(error))


def test_a_variant_that_fails_in_the_middle_has_no_times_and_the_others_have_all():
    calls = []

    def fails_in_the_third():
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("full")
        return {"prefill": 1.0}

    outcome = interleave({"bad": fails_in_the_third, "good": lambda: {"prefill": 1.0}}, 6)
    assert outcome.failures == {"bad": Failure("out of memory", "full")}
    assert {name: len(times) for name, times in outcome.samples.items()} == {"good": 6}
    assert len(calls) == 3


def test_the_tensors_of_a_failed_run_are_freed():
    import weakref

    seen = []

    def run():
        large = torch.zeros(8)
        seen.append(weakref.ref(large))
        raise torch.OutOfMemoryError("full")

    attempt(run)
    assert seen[0]() is None
