"""One request on its way through the queue, and how its answer grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from transprune.serve.recipes import Recipe
from transprune.serve.refusal import Refusal, failed, too_slow
from transprune.serve.text import TextStream
from transprune.serve.usage import Usage

Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class Piece:
    """Text that was added to an answer."""

    text: str


@dataclass(frozen=True)
class Finished:
    """A whole answer; `kept` says what each stage kept, where that was asked for."""

    text: str
    reason: Reason
    usage: Usage
    kept: dict[str, Any] | None = None


Event = Piece | Finished | Refusal


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: the best one at temperature 0, else drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(eq=False)
class Job:
    """A request whose inputs are prepared.

    Attributes:
        recipe: the method it runs with.
        inputs: of the model, one sample, on its device.
        pictures: hash of the file of each picture.
        visual: visual tokens of its prompt.
        new_tokens, stops, sampling: of the answer.
        deadline: on the clock of `time.monotonic`.
        deliver: takes events, in any thread.
        stream: whether pieces are delivered, or the whole answer alone.
        wants_kept: whether its last event says what each stage kept.
        reuse: whether it may use what earlier requests have computed, and leave its own.
        arrived: when the request came in.
        cancelled: its client is gone; set by another thread.
        over: its last event was delivered.
    """

    recipe: Recipe
    inputs: dict[str, Tensor]
    pictures: tuple[str, ...]
    visual: int
    new_tokens: int
    deadline: float
    deliver: Callable[[Event], None]
    stops: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    stream: bool = False
    wants_kept: bool = False
    reuse: bool = True
    arrived: float = field(default_factory=time.monotonic)
    queued: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    over: bool = False

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return int(self.inputs["input_ids"].shape[1])

    @property
    def group(self) -> tuple[Any, ...]:
        """Jobs of one group can run together."""
        return (self.recipe.key, bool(self.pictures), self.reuse, *sorted(self.inputs))

    def end(self, event: Finished | Refusal) -> None:
        """Deliver the last event, once."""
        if not self.over:
            self.over = True
            self.deliver(event)

    def end_if_dead(self) -> bool:
        """End a job whose client is gone or whose time is over; whether it is over."""
        if self.cancelled:
            self.over = True
        elif time.monotonic() > self.deadline:
            self.end(too_slow(self.deadline - self.arrived))
        return self.over


class Growing:
    """The answer to one job while its batch runs.

    Args:
        job: the request.
        tokenizer: decodes its tokens.
        ends: ids that end an answer.
        sent: what an earlier attempt has streamed already.
    """

    def __init__(self, job: Job, tokenizer: Any, ends: frozenset[int], sent: str = "") -> None:
        self.job = job
        self.stream = TextStream(tokenizer, job.stops, sent)
        self.tokens = 0
        self.first_token = 0.0
        self.reason: Reason | None = None
        self._ends = ends

    def push(self, token: int) -> None:
        """Add a token, and say why it was the last one if it was."""
        if self.reason is not None or self.job.end_if_dead():
            return
        if self.tokens == 0:
            self.first_token = time.monotonic()

        self.tokens += 1

        if token in self._ends:
            self.reason = "stop"
            return

        piece = self.stream.push(token)
        if piece and self.job.stream:
            self.job.deliver(Piece(piece))
        if self.stream.stopped:
            self.reason = "stop"
        elif self.tokens >= self.job.new_tokens:
            self.reason = "length"

    def finish(self, usage: Usage, kept: dict[str, Any] | None = None) -> None:
        """Deliver the rest and the end, with the bill and what was kept."""
        assert self.reason is not None
        try:
            piece = self.stream.finish()
        except Exception:
            self.job.end(failed())
            raise

        if piece and self.job.stream:
            self.job.deliver(Piece(piece))
        self.job.end(Finished(self.stream.text, self.reason, usage, kept))
