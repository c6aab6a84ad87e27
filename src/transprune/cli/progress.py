"""Progress of long work: a bar or a spinner on a terminal, a line every half minute elsewhere.

A log file cannot show a bar, and hours without a word look like a crash. There, a thread prints one
line each half minute, also while a single step takes longer than that:

    0:03:30  fastv@41: 1200 of 9900 (12 %), about 0:22:10 left
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from transprune.cli.console import err

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

EVERY = 30.0  # seconds between two lines


class Report(Protocol):
    """What a command calls after every step of its work."""

    def __call__(self, step: str, done: int = 0, total: int = 0, note: str = "") -> None:
        """Show the name of the step, how much is done of how much (0: unknown), and a note."""


class ProgressLines:
    """The lines of a log.

    Args:
        write: prints one line.
        every: seconds between two lines; work that is shorter prints none.
        clock: seconds from any start.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()  # a thread prints what another one reports

        self._start = self._last = clock()
        self._step = "starting"
        self._note = ""
        self._done = self._total = 0
        # where the present count began: a continued run has answers from before
        self._first_done = 0
        self._first_time = self._start

    def update(self, step: str, done: int = 0, total: int = 0, note: str = "") -> None:
        """Remember the state, and print a line if it is time for one."""
        with self._lock:
            # another total is another count, as time and memory after the answers
            if total != self._total or done < self._done:
                self._first_done = done
                self._first_time = self._clock()
            self._step, self._done, self._total, self._note = step, done, total, note
        self.tick()

    def tick(self) -> None:
        """Print a line if the last one, or the start, is long enough ago."""
        with self._lock:
            now = self._clock()
            if now - self._last < self._every:
                return
            self._last = now
            line = self._line(now)
        self._write(line)

    def _line(self, now: float) -> str:
        parts = [self._step]
        if self._total:
            share = 100 * self._done // self._total
            parts[0] += f": {self._done} of {self._total} ({share} %)"
        if (left := self._seconds_left(now)) is not None:
            parts.append(f"about {_clock_time(left)} left")
        if self._note:
            parts.append(self._note)
        return f"{_clock_time(now - self._start)}  {', '.join(parts)}"

    def _seconds_left(self, now: float) -> float | None:
        """At the speed of the present count; None as long as nothing of it is done."""
        new = self._done - self._first_done
        if new <= 0 or self._done >= self._total:
            return None
        return (now - self._first_time) / new * (self._total - self._done)


@contextmanager
def follow(*, as_json: bool = False, bar_per_step: bool = False) -> Iterator[Report]:
    """A function to call after every step of long work that counts its parts.

    Args:
        as_json: never a bar, because the output is for a program; the lines on stderr stay.
        bar_per_step: one bar for each step, below each other; else one that changes its name.
    """
    if err().is_terminal and not as_json:
        with _new_bars() as bars:
            yield _Bars(bars, bar_per_step)
        return
    with follow_in_lines() as report:
        yield report


@contextmanager
def follow_quietly(as_json: bool) -> Iterator[Report]:
    """The same, while the libraries underneath print nothing of their own."""
    from transprune.cli.guard import quiet_libraries

    with quiet_libraries(bars=False), follow(as_json=as_json) as report:
        yield report


@contextmanager
def follow_in_lines() -> Iterator[Report]:
    """The same as lines on stderr, wherever it goes."""

    def write(line: str) -> None:
        # soft_wrap: a log gets the whole line
        err().print(line, soft_wrap=True, markup=False)

    lines = ProgressLines(write)
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(EVERY):
            lines.tick()

    thread = threading.Thread(target=tick, name="progress lines", daemon=True)
    thread.start()
    try:
        yield lines.update
    finally:
        stop.set()
        thread.join()


class _Bars:
    """Bars of a terminal, made as their steps come."""

    def __init__(self, bars: RichProgress, bar_per_step: bool) -> None:
        self._bars = bars
        self._bar_per_step = bar_per_step
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int = 0, total: int = 0, note: str = "") -> None:
        key = step if self._bar_per_step else ""
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(step, total=None, note=note)

        # without a total the bar moves to and fro
        self._bars.update(
            self._tasks[key], description=step, completed=done, total=total or None, note=note
        )


def _new_bars() -> RichProgress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=err(),
    )


def _clock_time(seconds: float) -> str:
    """`3725.2` -> `1:02:05`."""
    return str(timedelta(seconds=round(seconds)))
