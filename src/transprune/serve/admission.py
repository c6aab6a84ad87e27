"""Who may come in: a bound on requests at once, and on the bytes they hold until they run."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from transprune.serve.limits import Limits
from transprune.serve.metrics import Metrics
from transprune.serve.refusal import busy


class Admission:
    """Counts the requests inside. Only the event loop touches it.

    Args:
        limits: how many may wait besides a batch that runs, and how many bytes they may hold.
        metrics: where they are counted.
        retry_after: requests inside -> seconds until they are likely to be answered.
        batches: that run at a time.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        retry_after: Callable[[int], int],
        batches: int = 1,
    ) -> None:
        self._limits = limits
        self._batches = batches
        self._metrics = metrics
        self._retry_after = retry_after
        self.inside = 0
        self.held = 0

    @property
    def most(self) -> int:
        """Requests that may be inside."""
        return self._limits.waiting + self._limits.batch * self._batches

    def enter(self) -> Ticket:
        """A place for one request.

        Raises:
            Refusal: 429, there is none.
        """
        if self.inside >= self.most:
            seconds = self._retry_after(self.inside)
            raise busy(f"{self.inside} requests are waiting already; try again later", seconds)
        self.inside += 1
        self._metrics.open.set(self.inside)
        return Ticket(self)

    def leave(self) -> None:
        """Give a place back."""
        self.inside -= 1
        self._metrics.open.set(self.inside)

    def hold(self, size: int) -> None:
        """Count bytes that are held in memory.

        Raises:
            Refusal: 429, the bodies of all requests together are too large.
        """
        if self.held + size > self._limits.pending_bytes:
            seconds = self._retry_after(self.inside)
            raise busy("the requests that are waiting are too large; try again later", seconds)
        self.held += size


class Ticket:
    """The place of one request, given back once."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0
        self._left = False

    def hold(self, size: int) -> None:
        """Count further bytes of this request."""
        self._admission.hold(size)
        self._held += size

    def release(self) -> None:
        """The body is no longer held."""
        self._admission.held -= self._held
        self._held = 0

    def leave(self) -> None:
        """Give the place back."""
        if not self._left:
            self._left = True
            self.release()
            self._admission.leave()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
