"""One replica: a process with its model, and the application of a server without replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from transprune.errors import ServeError
from transprune.models.checkpoint import LoadOptions
from transprune.serve.server import Settings

HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]


@dataclass(frozen=True)
class Spec:
    """What a server loads and offers, or each of its replicas.

    Attributes:
        model: as `load` takes it.
        loading: how it is loaded.
        name: of the model, for clients.
        method: of requests that name none.
        offered: further methods; None offers the presets that fit.
        settings: limits, hosts of pictures and grace. Tokens stay with the front.
        threads: CPU threads of a replica.
    """

    model: str
    loading: LoadOptions
    name: str
    method: str
    offered: tuple[str, ...] | None
    settings: Settings
    threads: int


class Replica:
    """Answers requests that the front has let in.

    Raises:
        CheckpointError, FamilyError, MethodError: the model or a method cannot be used.
    """

    def __init__(self, spec: Spec) -> None:
        from transprune.batch.cluster import settle
        from transprune.models.checkpoint import load
        from transprune.serve.app import build_app
        from transprune.serve.fetch import Fetcher
        from transprune.serve.recipes import Recipes
        from transprune.serve.service import Service

        # replicas share the cores, and loading uses as many threads as it may
        settle(spec.threads)
        settings = spec.settings
        checkpoint = load(spec.model, spec.loading)
        recipes = Recipes(checkpoint, spec.name, spec.method, spec.offered)
        fetcher = Fetcher(settings.url_hosts, settings.limits)
        self._service = Service(checkpoint, recipes, settings.limits, fetcher)
        self._app = build_app(self._service, (), settings.grace)
        self._grace = settings.grace
        self._service.start()

    def check_health(self) -> None:
        """Ray Serve starts a replica again for which this raises."""
        if not self._service.scheduler.alive:
            raise ServeError("the inference thread has died")

    async def ping(self) -> bool:
        """Whether the replica answers."""
        return self._service.ready

    async def answer(self, method: str, path: str, body: bytes) -> AsyncIterator[dict[str, Any]]:
        """The ASGI messages of the answer to a request, as they come."""
        messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        gone = asyncio.Event()
        task = asyncio.create_task(self._run(_scope(method, path), body, messages, gone))
        try:
            while (message := await messages.get()) is not None:
                yield message
        finally:
            # the front has left, if the answer is not whole
            gone.set()
            with suppress(Exception):
                await task

    async def _run(
        self,
        scope: dict[str, Any],
        body: bytes,
        messages: asyncio.Queue[dict[str, Any] | None],
        gone: asyncio.Event,
    ) -> None:
        """Run the application on a request whose body is here already."""
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        try:
            await self._app(scope, receive, messages.put)  # type: ignore[arg-type]
        finally:
            messages.put_nowait(None)

    def __del__(self) -> None:
        # Ray Serve calls it when what ran is finished
        with suppress(AttributeError):
            self._service.close(self._grace)


def _scope(method: str, path: str) -> dict[str, Any]:
    """A request as the application sees it; nothing of the client's headers reaches a replica."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": HEADERS,
        "client": None,
        "server": ("localhost", 80),
    }
