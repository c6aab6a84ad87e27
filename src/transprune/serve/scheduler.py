"""The queue: requests that arrive together run together, and the oldest never waits for younger.

The next batch is the oldest request with all others of its group (same method, same kind of
inputs) in their order, as far as they fit. One thread runs the batches.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from transprune.serve.job import Job
from transprune.serve.limits import Limits
from transprune.serve.metrics import Metrics
from transprune.serve.refusal import failed

log = logging.getLogger(__name__)

LONGEST_RETRY = 60
COLLECT_EVERY = 1.0  # seconds
LOOK = 0.05  # seconds between looks for clients that left while they waited


class Runs(Protocol):
    """Something that answers batches."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Answer jobs of one group."""


class Scheduler:
    """Groups jobs into batches and runs them in a thread of its own.

    Args:
        runner: answers a batch.
        limits: sizes of a batch, and how long it is gathered.
        metrics: where waiting and running requests are counted.
    """

    def __init__(self, runner: Runs, limits: Limits, metrics: Metrics) -> None:
        self._runner = runner
        self._limits = limits
        self._metrics = metrics
        self._jobs: list[Job] = []  # oldest first
        self._changed = threading.Condition()
        self._closed = False
        self._collected = time.monotonic()
        self._per_second = 4.0  # answers, measured over the latest batches
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether batches are being run."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to run batches."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Add a job to the queue."""
        job.queued = time.monotonic()
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Run what is queued, for so many seconds, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self.alive:
            self._thread.join(seconds)

    def retry_after(self, ahead: int) -> int:
        """Seconds until so many requests are likely to be answered."""
        return min(LONGEST_RETRY, max(1, math.ceil(ahead / self._per_second)))

    def _work(self) -> None:
        """Run batches until the queue is closed and empty."""
        while True:
            batch = self._next()
            if batch is None:
                return
            if not batch:
                continue

            start = time.monotonic()
            self._metrics.running.set(len(batch))
            try:
                self._runner.run(batch)
            # a batch that cannot even be started must not end the thread
            except Exception:
                log.exception("a batch could not be run")
                for job in batch:
                    job.end(failed())

            self._metrics.running.set(0)
            self._collect()
            self._note_speed(len(batch), time.monotonic() - start)

    def _collect(self) -> None:
        """Free the caches of earlier batches, which refer to themselves, before they pile up."""
        now = time.monotonic()
        if now - self._collected > COLLECT_EVERY:
            gc.collect()
            self._collected = now

    def _note_speed(self, answers: int, seconds: float) -> None:
        latest = answers / max(seconds, 1e-6)
        self._per_second = 0.7 * self._per_second + 0.3 * latest

    def _next(self) -> list[Job] | None:
        """The next batch; empty if none is ready yet, None when there will be no more."""
        with self._changed:
            self._drop_dead()
            if not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
                return []

            batch = self._gather()
            # wait a moment for others that could run with it, unless the batch is full
            young = self._limits.gather_seconds - (time.monotonic() - self._jobs[0].queued)
            if len(batch) < self._limits.batch and young > 0 and not self._closed:
                self._changed.wait(min(young, LOOK))
                return []

            self._jobs = [job for job in self._jobs if job not in batch]

        return batch

    def _drop_dead(self) -> None:
        """Forget jobs whose client is gone or whose time is over."""
        self._jobs = [job for job in self._jobs if not job.end_if_dead()]

    def _gather(self) -> list[Job]:
        """The oldest job and those that can run with it."""
        oldest = self._jobs[0]
        batch: list[Job] = []
        longest = 0
        for job in self._jobs:
            if job.group != oldest.group:
                continue

            longest = max(longest, job.length)
            # every row of a batch is as long as the longest
            too_many = longest * (len(batch) + 1) > self._limits.batch_tokens
            if (batch and too_many) or len(batch) == self._limits.batch:
                break

            batch.append(job)

        return batch
