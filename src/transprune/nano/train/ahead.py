"""Batches made ahead of their step: by one thread, or, where there are cores to spare, by processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

AHEAD = 4  # batches that the thread makes in advance

T = TypeVar("T")


def made_ahead(make: Callable[[int], T], numbers: range, workers: int = 0) -> Iterator[T]:
    """What `make` gives for each number, in their order.

    Args:
        make: must not depend on the order of its calls. Processes are forks of this one: they must
            not touch a GPU.
        numbers: of the steps.
        workers: processes that make batches; with 0 one thread does.
    """
    if workers == 0:
        yield from _by_a_thread(make, numbers)
        return

    yield from DataLoader(
        _Made(make, numbers),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        multiprocessing_context="fork",
        worker_init_fn=_outlive_stops,
    )


def _outlive_stops(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which may reach the whole group, to the process that trains.

    It ends its workers when it is done; a worker whose parent is gone ends by itself.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _by_a_thread(make: Callable[[int], T], numbers: range) -> Iterator[T]:
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting = [pool.submit(make, number) for number in numbers[:AHEAD]]

        for place in range(len(numbers)):
            made = waiting.pop(0).result()
            if place + AHEAD < len(numbers):
                waiting.append(pool.submit(make, numbers[place + AHEAD]))
            yield made


class _Made(Dataset[T]):
    """The form in which torch's loader wants it."""

    def __init__(self, make: Callable[[int], T], numbers: range) -> None:
        self._make = make
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> T:
        # the loader asks up to the length that it was told
        return self._make(self._numbers[place])


def _unchanged(batch: T) -> T:
    return batch
