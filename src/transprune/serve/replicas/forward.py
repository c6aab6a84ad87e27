"""The answer of a replica on its way to the client, message by message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Protocol

from fastapi import Request, Response

from transprune.serve.guard import Receive, Scope, Send
from transprune.serve.refusal import CLIENT_GONE, Refusal

log = logging.getLogger(__name__)

Message = dict[str, Any]  # of ASGI


class Replicas(Protocol):
    """What answers requests."""

    def answer(self, method: str, path: str, body: bytes) -> AsyncIterator[Message]:
        """The ASGI messages of an answer, as they come; closing the iterator ends the request."""

    async def alive(self) -> bool:
        """Whether a replica answers."""


class Forwarded(Response):
    """The answer of a replica, passed on message by message.

    Args:
        messages: of the answer, the first one taken out.
        first: the first one.
        over: called when the answer has ended, whole or not.
    """

    def __init__(
        self, messages: AsyncIterator[Message], first: Message, over: Callable[[], None]
    ) -> None:
        super().__init__(status_code=first["status"])
        self._messages = messages
        self._first = first
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and end it when the client leaves."""
        gone = asyncio.ensure_future(_disconnected(receive))
        passing = asyncio.ensure_future(self._pass_on(send))
        try:
            await asyncio.wait({gone, passing}, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                # a replica that died in the middle ends the connection, so no half looks whole
                passing.result()
        finally:
            await _stop(gone, passing)
            await _close(self._messages)
            self._over()

    async def _pass_on(self, send: Send) -> None:
        await send(self._first)
        async for message in self._messages:
            await send(message)


async def first_message(messages: AsyncIterator[Message], request: Request) -> Message:
    """The first message of an answer.

    Raises:
        Refusal: the replica died, or the client is gone.
    """
    # whatever comes first: the client may leave while the replica still thinks
    gone = asyncio.ensure_future(_disconnected(request.receive))
    first = asyncio.ensure_future(anext(messages))
    try:
        await asyncio.wait({gone, first}, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            return first.result()
    except Exception as error:
        log.error("a replica did not answer: %s", type(error).__name__)
        raise Refusal(
            "the replica that had this request ended; send it again", 503, "server_error"
        ) from None
    finally:
        await _stop(gone, first)

    # closing it tells the replica that nobody waits any more
    await _close(messages)
    raise Refusal("the client is gone", CLIENT_GONE)


async def _disconnected(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def _close(messages: AsyncIterator[Message]) -> None:
    with suppress(Exception):
        await messages.aclose()  # type: ignore[attr-defined]
