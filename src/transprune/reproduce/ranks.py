"""The processes that answer one table together: who is who, and how they wait for each other.

Each has a copy of the model (data parallelism). `processes.py`, `torchrun` or `accelerate launch`
starts them, and accelerate joins them: NCCL between GPUs, gloo between processes on a CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from transprune.errors import BenchError, MissingExtra
from transprune.models.checkpoint import LoadOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together.

    Attributes:
        rank: its number; 0 writes the results.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def gather(self, value: T) -> Sequence[T]:
        """The values of all processes, by rank; every process waits for all."""
        if self.size == 1:
            return [value]
        from accelerate.utils import gather_object

        found: list[T] = gather_object([value])
        return found

    def wait(self) -> None:
        """Wait until every process is here."""
        self.gather(None)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process runs the block, then the others: it fills caches that all read."""
        if not self.first:
            self.wait()
        try:
            yield
        # the others wait for it even where it found no data
        finally:
            if self.first:
                self.wait()


ALONE = Ranks()


def launched() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def join(device: str) -> Ranks:
    """Join the other processes, if this one was started with some.

    Args:
        device: as in `LoadOptions`.

    Raises:
        MissingExtra: accelerate is not installed.
        BenchError: the processes cannot find each other.
    """
    if not launched():
        return ALONE
    state = _accelerate_state(device)
    return Ranks(state.process_index, state.num_processes)


def own_device(loading: LoadOptions, ranks: Ranks) -> LoadOptions:
    """The options with the GPU of this process among several."""
    import torch

    if ranks.size == 1 or loading.device == "cpu" or not torch.cuda.is_available():
        return loading
    local = int(os.environ.get("LOCAL_RANK", ranks.rank))
    return replace(loading, device=f"cuda:{local % torch.cuda.device_count()}")


def _accelerate_state(device: str) -> Any:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtra(
            "several processes work together through accelerate: "
            "pip install 'transprune[reproduce]'"
        ) from error

    import torch

    on_cpu = device == "cpu" or not torch.cuda.is_available()
    try:
        return PartialState(cpu=on_cpu)
    # what the backends raise differs
    except (RuntimeError, ValueError) as error:
        raise BenchError(
            f"the {os.environ.get('WORLD_SIZE')} processes do not find each other ({error}); start "
            "them with --processes, or with torchrun"
        ) from error
