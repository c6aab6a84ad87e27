"""Batches made by processes are those that one thread makes, in the same order."""

from __future__ import annotations

import os
import signal

import pytest

from transprune.nano.train.ahead import made_ahead


def batch(number: int) -> dict[str, int]:
    return {"number": number, "process": os.getpid()}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order(workers) -> None:
    made = list(made_ahead(batch, range(3, 14), workers))
    assert [part["number"] for part in made] == list(range(3, 14))
    assert ({part["process"] for part in made} == {os.getpid()}) == (workers == 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_batch_fails_with_reaches_the_loop(workers) -> None:
    def fail(number: int) -> int:
        raise ValueError(f"batch {number}")

    with pytest.raises(ValueError, match="batch 5"):
        list(made_ahead(fail, range(5, 7), workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_no_numbers_no_batches(workers) -> None:
    assert list(made_ahead(batch, range(2, 2), workers)) == []


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_of_the_whole_group_is_the_loops_to_answer(stop) -> None:
    """A worker that is told to stop still makes the batches that the loop is waiting for."""
    batches = made_ahead(batch, range(9), 1)
    first = next(batches)
    os.kill(first["process"], stop)
    made = [first, *batches]
    assert [part["number"] for part in made] == list(range(9))
    assert {part["process"] for part in made} == {first["process"]}
