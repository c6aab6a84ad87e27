"""The HTTP routes: OpenAI's chat completions and models, the offer, health, metrics and the page."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from transprune import __version__
from transprune.serve.admission import Ticket
from transprune.serve.body import discard
from transprune.serve.guard import Guard, Receive, Scope, Send
from transprune.serve.job import Finished
from transprune.serve.metrics import REFUSED
from transprune.serve.page_files import add_page, read_page
from transprune.serve.refusal import Refusal, failed
from transprune.serve.responses import model_list
from transprune.serve.schema import RESPONSES, describe
from transprune.serve.service import Call, Service

log = logging.getLogger(__name__)

DONE = "data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """A streamed answer that says when it is over, also to a client that left."""

    def __init__(self, parts: AsyncIterator[str], over: Callable[[], None]) -> None:
        super().__init__(
            parts,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
        self._parts = parts
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts."""
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            pass
        finally:
            # a client may leave before the first part was asked for
            await self._parts.aclose()  # type: ignore[attr-defined]
            self._over()


def build_app(service: Service, tokens: tuple[str, ...] = (), grace: float = 30.0) -> FastAPI:
    """The web application of a service.

    Args:
        service: answers requests; it is started and closed with the application.
        tokens: bearer tokens; without any, only names of this machine are answered.
        grace: seconds for what is queued when the application is closed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close(grace)

    app = FastAPI(
        title="transprune",
        version=__version__,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )

    page = read_page()
    app.add_middleware(Guard, tokens=tokens, answer=_answer, public=page)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _crashed)

    _add_routes(app, service)
    add_page(app, page)
    describe(app)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", responses=RESPONSES)
    async def chat(request: Request) -> Response:
        """Answer a conversation."""
        return await _chat(service, request)

    @app.get("/v1/models", responses={401: RESPONSES[401]})
    async def models() -> dict[str, Any]:
        """The model, alone and with each method."""
        return model_list(service.recipes.model_names, service.started)

    @app.get("/v1/pruning", responses={401: RESPONSES[401]})
    async def pruning() -> dict[str, Any]:
        """The methods on offer with what they cost, and the bounds of a request."""
        return await service.offer()

    @app.get("/health")
    async def health() -> Response:
        """Whether the process answers and its inference thread lives."""
        alive = service.scheduler.alive
        return JSONResponse({"status": "ok" if alive else "dead"}, 200 if alive else 503)

    @app.get("/ready")
    async def ready() -> Response:
        """Whether new requests are welcome: no longer while the server shuts down."""
        status = "ready" if service.ready else "not ready"
        return JSONResponse({"status": status}, 200 if service.ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)


async def _chat(service: Service, request: Request) -> Response:
    record = _Record(service)
    try:
        ticket = await _enter(service, request)
        record.leave = ticket.leave
        call = record.call = await service.open(request, ticket)
        event = await service.first(call, request)
    # a cancelled request leaves its place, too
    except BaseException as error:
        record.over(error.status if isinstance(error, Refusal) else 500)
        raise

    headers = {"X-Request-ID": call.completion.id}
    if call.job.stream:
        parts = _to_events(service.stream(call, event))
        # a stream is over when its last part is sent, and not when it begins
        response: Response = EventStream(parts, lambda: record.over(200))
    else:
        assert isinstance(event, Finished)
        response = JSONResponse(service.whole(call, event))
        record.over(200)

    response.headers.update(headers)
    return response


async def _enter(service: Service, request: Request) -> Ticket:
    """A place in the queue, or the refusal of a request that has sent its body in vain."""
    try:
        return service.admission.enter()
    except Refusal:
        await discard(request, service.limits)
        raise


class _Record:
    """Counts one request, notes its sizes and gives its place back. Its content is not noted."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._start = time.monotonic()
        self.call: Call | None = None
        self.leave: Callable[[], None] = lambda: None

    def over(self, status: int) -> None:
        """The request is over."""
        self.leave()
        call = self.call
        method = REFUSED if call is None else call.job.recipe.name
        self._service.metrics.requests.labels(method, str(status)).inc()

        sizes = "" if call is None else f" {call.completion.id} {call.job.length} tokens"
        milliseconds = 1000 * (time.monotonic() - self._start)
        log.info("chat %d %s%s %.0f ms", status, method, sizes, milliseconds)


async def _to_events(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Server-sent events, closed by the line that clients wait for."""
    try:
        async for part in parts:
            yield f"data: {json.dumps(part, ensure_ascii=False)}\n\n"
        yield DONE
    finally:
        await parts.aclose()  # type: ignore[attr-defined]


async def _answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal where there is no route yet."""
    response = JSONResponse(refusal.body, refusal.status, refusal.headers)
    await response(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse(error.body, error.status, error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    """No such path, or another HTTP method."""
    assert isinstance(error, HTTPException)
    refusal = Refusal(f"{error.detail}: see /openapi.json for what there is", error.status_code)
    return JSONResponse(refusal.body, error.status_code, error.headers)


async def _crashed(request: Request, error: Exception) -> Response:
    refusal = failed()
    return JSONResponse(refusal.body, refusal.status)
