"""What clients reach: the guard and the limits of a server, in front of replicas.

A request comes in as at a server without replicas: token, place in the queue, body within its bounds.
Then a replica answers it, and its messages are passed on as they come, so streams stay streams. A
client that leaves takes its request out of the replica, too.
"""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from transprune.serve.admission import Admission, Ticket
from transprune.serve.body import discard, read_body
from transprune.serve.guard import Guard, Receive, Scope, Send
from transprune.serve.limits import Limits
from transprune.serve.metrics import Metrics
from transprune.serve.page_files import add_page, read_page
from transprune.serve.refusal import Refusal
from transprune.serve.replicas.forward import Forwarded, Replicas, first_message

log = logging.getLogger(__name__)

CHAT = "/v1/chat/completions"
PASSED_ON = ("/v1/models", "/v1/pruning", "/openapi.json")


class Front:
    """The state of a front.

    Args:
        replicas: what answers.
        limits: of one replica.
        count: replicas.

    Attributes:
        draining: it was told to stop.
    """

    def __init__(self, replicas: Replicas, limits: Limits, count: int) -> None:
        self.replicas = replicas
        self.limits = limits
        self.draining = False
        together = limits.batch * count
        self.admission = Admission(
            limits, Metrics(), lambda inside: 1 + inside // together, batches=count
        )


def build_front(front: Front, tokens: tuple[str, ...]) -> FastAPI:
    """The web application of a front.

    Args:
        front: its state.
        tokens: bearer tokens; without any, only names of this machine are answered.
    """
    app = FastAPI(title="transprune", docs_url=None, redoc_url=None, openapi_url=None)
    page = read_page()
    app.add_middleware(Guard, tokens=tokens, answer=_answer, public=page)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    _add_routes(app, front)
    add_page(app, page)
    return app


def _add_routes(app: FastAPI, front: Front) -> None:
    @app.post(CHAT)
    async def chat(request: Request) -> Response:
        """Answer a conversation."""
        return await _chat(front, request)

    async def pass_on(request: Request) -> Response:
        """What every replica says alike."""
        messages = front.replicas.answer("GET", request.url.path, b"")
        return Forwarded(messages, await first_message(messages, request), lambda: None)

    # all replicas give the same answer to these
    for path in PASSED_ON:
        app.add_api_route(path, pass_on)

    @app.get("/health")
    async def health() -> Response:
        """Whether a replica answers."""
        alive = await front.replicas.alive()
        return JSONResponse({"status": "ok" if alive else "dead"}, 200 if alive else 503)

    @app.get("/ready")
    async def ready() -> Response:
        """Whether new requests are welcome."""
        ready = not front.draining and await front.replicas.alive()
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Refused: the counters of one replica would look like those of all."""
        raise Refusal(
            "with --replicas each replica counts its own requests, so there is no page of all; "
            "usage.pruning of every answer has its figures",
            501,
            "server_error",
            code="no_metrics",
        )


async def _chat(front: Front, request: Request) -> Response:
    ticket = await _enter(front, request)
    try:
        body = await read_body(request, front.limits, ticket)
        messages = front.replicas.answer("POST", CHAT, body)
        return Forwarded(messages, await first_message(messages, request), ticket.leave)
    except BaseException:
        ticket.leave()
        raise


async def _enter(front: Front, request: Request) -> Ticket:
    """A place in the queue, or the refusal of a request that has sent its body in vain."""
    try:
        return front.admission.enter()
    except Refusal:
        await discard(request, front.limits)
        raise


async def _answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal where there is no route yet."""
    await JSONResponse(refusal.body, refusal.status, refusal.headers)(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse(error.body, error.status, error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    """No such path, or another HTTP method."""
    assert isinstance(error, HTTPException)
    refusal = Refusal(f"{error.detail}: see /openapi.json for what there is", error.status_code)
    return JSONResponse(refusal.body, error.status_code, error.headers)
