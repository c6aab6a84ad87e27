"""Read the body of a request, within a number of bytes and a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from transprune.serve.admission import Ticket
from transprune.serve.limits import Limits
from transprune.serve.refusal import CLIENT_GONE, Refusal

if TYPE_CHECKING:
    from starlette.requests import Request


async def read_body(request: Request, limits: Limits, ticket: Ticket) -> bytes:
    """The bytes of a JSON body.

    Raises:
        Refusal: another media type or a compressed body (415), too large (413), too slow (408), too
            much in memory already (429), or the client is gone.
    """
    # a form of another site cannot send this type without asking first
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("the body is JSON, with Content-Type: application/json", 415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("compressed bodies are not read; send plain JSON", 415)

    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.body_bytes:
        raise _too_large(limits)
    try:
        return await asyncio.wait_for(_collect(request, limits, ticket), limits.body_seconds)
    except asyncio.TimeoutError:
        raise Refusal(
            f"the body did not arrive within {limits.body_seconds:g} s", 408, code="timeout"
        ) from None


async def _collect(request: Request, limits: Limits, ticket: Ticket) -> bytes:
    from starlette.requests import ClientDisconnect

    body = bytearray()
    try:
        async for chunk in request.stream():
            ticket.hold(len(chunk))
            body += chunk
            if len(body) > limits.body_bytes:
                raise _too_large(limits)
    except ClientDisconnect:
        raise Refusal("the client is gone", CLIENT_GONE) from None

    return bytes(body)


async def discard(request: Request, limits: Limits) -> None:
    """Read a body and forget it: a client that is still sending would not see the answer."""
    from starlette.requests import ClientDisconnect

    async def read() -> None:
        """At most as much as a body may have."""
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limits.body_bytes:
                return

    with suppress(asyncio.TimeoutError, ClientDisconnect):
        await asyncio.wait_for(read(), limits.body_seconds)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        f"a body has at most {limits.body_bytes:,} bytes; send fewer or smaller pictures",
        413,
        code="body_too_large",
    )
