"""Clocks for the host and for a GPU: mark a moment in the work, and read the seconds between two."""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments without waiting for the device, and reads the seconds between two of them."""

    name: str

    def start(self) -> Any:
        """Mark the start of a run, after all earlier work is done."""

    def mark(self) -> Any:
        """Mark the end of the work that was given to the device so far."""

    def seconds(self, first: Any, last: Any) -> float:
        """Seconds between two marks, both after their work is done."""


class HostClock:
    """The clock of a CPU: its own time of one thread, else the time on the wall.

    CPU time of several threads does not add up to anything comparable, and that of one is steadier
    than the wall's on a machine with other work.
    """

    def __init__(self) -> None:
        alone = torch.get_num_threads() == 1
        self.name = "CPU time of one thread" if alone else "wall time"
        self._read = time.thread_time if alone else time.perf_counter

    def start(self) -> float:
        """Now."""
        return self._read()

    def mark(self) -> float:
        """Now: on a CPU work is done when its call returns."""
        return self._read()

    def seconds(self, first: float, last: float) -> float:
        """The difference."""
        return last - first


class CudaClock:
    """CUDA events: recorded in the stream, so gaps in which the GPU waits for the host count too."""

    name = "CUDA events"

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> torch.cuda.Event:
        """An event in an idle stream."""
        torch.cuda.synchronize(self._device)
        return self.mark()

    def mark(self) -> torch.cuda.Event:
        """An event behind all work that was queued so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, first: torch.cuda.Event, last: torch.cuda.Event) -> float:
        """Waits for the last event."""
        last.synchronize()
        return first.elapsed_time(last) / 1000  # milliseconds


def clock_of(device: torch.device | str) -> Clock:
    """The clock for work on `device`."""
    place = torch.device(device)
    return CudaClock(place) if place.type == "cuda" else HostClock()
