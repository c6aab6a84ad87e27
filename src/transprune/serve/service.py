"""A request from its body to its last token: read, checked, prepared, queued, answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from transprune.models.chat import Turn
from transprune.models.checkpoint import Checkpoint
from transprune.serve.admission import Admission, Ticket
from transprune.serve.body import read_body
from transprune.serve.budgets import Budgets
from transprune.serve.fetch import Fetcher
from transprune.serve.job import Event, Finished, Job, Piece
from transprune.serve.limits import DEFAULTS, Limits
from transprune.serve.metrics import Metrics
from transprune.serve.offer import describe_offer
from transprune.serve.prepare import Prepared, Preparer, sampling, sources
from transprune.serve.recipes import Recipe, Recipes
from transprune.serve.refusal import CLIENT_GONE, Refusal, too_slow
from transprune.serve.request import ChatRequest, parse
from transprune.serve.responses import Completion
from transprune.serve.runner import Runner
from transprune.serve.scheduler import Scheduler

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(frozen=True)
class Call:
    """A request that is in the queue.

    Attributes:
        job: what runs.
        events: what has happened to it.
        completion: makes its answer.
    """

    job: Job
    completion: Completion
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)


class Service:
    """Everything of a server but HTTP routes.

    Args:
        checkpoint: the model.
        recipes: the methods on offer.
        limits: bounds of one request and of all of them.
        fetcher: fetches pictures by address; None allows no host.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        recipes: Recipes,
        limits: Limits = DEFAULTS,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.recipes = recipes
        self.limits = limits
        self.metrics = Metrics()
        self.started = int(time.time())
        self.draining = False

        self._preparer = Preparer(checkpoint, limits)
        self._budgets = Budgets(checkpoint)
        self._offer = cache(partial(describe_offer, checkpoint, recipes, limits))
        self._fetcher = fetcher or Fetcher(limits=limits)
        runner = Runner(checkpoint, limits.reuse_bytes, self.metrics)
        self.scheduler = Scheduler(runner, limits, self.metrics)
        self.admission = Admission(limits, self.metrics, self.scheduler.retry_after)
        # one thread, because processors are not made for several
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prepare")

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.scheduler.alive and not self.draining

    def start(self) -> None:
        """Begin to answer."""
        self.scheduler.start()

    def close(self, seconds: float) -> None:
        """Answer what is queued, for so many seconds, and stop."""
        self.draining = True
        self.scheduler.close(seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def offer(self) -> dict[str, Any]:
        """The methods on offer and the bounds of a request; counted once."""
        offer: dict[str, Any] = await self._in_thread(self._offer)
        return offer

    async def open(self, request: Request, ticket: Ticket) -> Call:
        """Queue a request.

        Raises:
            Refusal: it cannot be answered, or its time is over before it is in the queue.
        """
        try:
            return await asyncio.wait_for(self._open(request, ticket), self.limits.seconds)
        # a body and each picture that is fetched have a time of their own, which add up
        except asyncio.TimeoutError:
            self.metrics.dropped.labels("timeout").inc()
            raise too_slow(self.limits.seconds) from None

    async def _open(self, request: Request, ticket: Ticket) -> Call:
        arrived = time.monotonic()
        body = await read_body(request, self.limits, ticket)
        chat: ChatRequest = await self._in_thread(parse, body, self.limits)
        chosen = self.recipes.choose(chat.model, chat.pruning)
        turns = self._preparer.turns(chat)
        fetched = await self._fetch(chat, ticket)
        recipe, prepared = await self._in_thread(self._prepare, chat, chosen, turns, fetched)
        # the body is gone, and the inputs made of it wait in its place
        ticket.release()
        ticket.hold(sum(value.nbytes for value in prepared.inputs.values()))

        events: asyncio.Queue[Event] = asyncio.Queue()
        job = Job(
            recipe=recipe,
            inputs=prepared.inputs,
            pictures=prepared.pictures,
            visual=prepared.visual,
            new_tokens=prepared.new_tokens,
            deadline=arrived + self.limits.seconds,
            deliver=_deliver_to(events),
            stops=chat.stops,
            sampling=sampling(chat),
            stream=bool(chat.stream),
            wants_kept=bool(chat.pruning_trace),
            reuse=chat.reuse is not False,
            arrived=arrived,
        )

        self.scheduler.submit(job)
        return Call(job, Completion(chat.model, chat.wants_usage), events)

    async def first(self, call: Call, request: Request) -> Piece | Finished:
        """The first event of a request: of one that is not streamed, its whole answer.

        Raises:
            Refusal: it failed, it took too long, or its client is gone.
        """
        gone = asyncio.ensure_future(_disconnected(request))
        event = asyncio.ensure_future(self._event(call))
        try:
            await asyncio.wait({gone, event}, return_when=asyncio.FIRST_COMPLETED)
            if not event.done():
                self.metrics.dropped.labels("disconnect").inc()
                raise Refusal("the client is gone", CLIENT_GONE)
            found = event.result()
        finally:
            gone.cancel()
            event.cancel()
            # without an answer nobody waits for one
            call.job.cancelled = not event.done() or event.cancelled()

        if isinstance(found, Refusal):
            raise found
        return found

    async def stream(self, call: Call, event: Event) -> AsyncIterator[dict[str, Any]]:
        """The parts of a streamed answer, from its first event on."""
        completion = call.completion
        yield completion.opening()
        try:
            while isinstance(event, Piece):
                yield completion.piece(event.text)
                event = await self._event(call)

            if isinstance(event, Refusal):
                yield event.body
                return

            yield completion.closing(event)
            if completion.wants_usage:
                yield completion.bill(event)
            self._count(call, event)
        finally:
            # the generator was closed in the middle: the client has left
            if not call.job.over:
                self.metrics.dropped.labels("disconnect").inc()
                call.job.cancelled = True

    def whole(self, call: Call, event: Finished) -> dict[str, Any]:
        """The answer to a request that is not streamed."""
        self._count(call, event)
        return call.completion.whole(event)

    async def _event(self, call: Call) -> Event:
        """The next event of a request, or the refusal of one that takes too long."""
        left = call.job.deadline - time.monotonic()
        try:
            event = await asyncio.wait_for(call.events.get(), max(left, 0))
        except asyncio.TimeoutError:
            # the inference thread leaves it out from the next step on
            call.job.cancelled = True
            event = too_slow(self.limits.seconds)

        if isinstance(event, Refusal) and event.code == "timeout":
            self.metrics.dropped.labels("timeout").inc()
        return event

    async def _fetch(self, chat: ChatRequest, ticket: Ticket) -> dict[str, bytes]:
        """Files of the pictures that are given by an address."""
        files = {}
        for source in sources(chat):
            if not source.is_data:
                files[source.param] = await self._fetcher.fetch(source.url, source.param)
                ticket.hold(len(files[source.param]))
        return files

    def _prepare(
        self,
        chat: ChatRequest,
        recipe: Recipe,
        turns: Sequence[Turn],
        fetched: Mapping[str, bytes],
    ) -> tuple[Recipe, Prepared]:
        """The inputs of a request, and its method at the budget it asks for."""
        prepared = self._preparer.prepare(chat, turns, fetched)
        if chat.pruning_budget is not None:
            recipe = self._budgets.scale(recipe, chat.pruning_budget, prepared.counts)
        return recipe, prepared

    async def _in_thread(self, function: Callable[..., Any], *given: Any) -> Any:
        """What a function returns, which runs in the thread that prepares."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *given)

    def _count(self, call: Call, event: Finished) -> None:
        self.metrics.answered(event.usage, time.monotonic() - call.job.arrived)


def _deliver_to(events: asyncio.Queue[Event]) -> Any:
    """A function that puts events into a queue of this loop, from any thread."""
    loop = asyncio.get_running_loop()

    def deliver(event: Event) -> None:
        """Nobody waits any more once the loop is closed."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    return deliver


async def _disconnected(request: Request) -> None:
    """Wait until the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
