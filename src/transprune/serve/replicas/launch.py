"""Start replicas on Ray Serve, and the front that clients reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from transprune.batch import need_ray
from transprune.batch.cluster import Cluster, fitted, quiet, start_ray
from transprune.core.shown import shorten
from transprune.errors import ServeError
from transprune.serve.replicas.forward import Message
from transprune.serve.replicas.front import Front, build_front
from transprune.serve.replicas.replica import Replica, Spec
from transprune.serve.server import bind, check_safe, run_app

NAME = "transprune"
PING_SECONDS = 5.0
SPARE = 64  # requests beyond the limits that reach a replica, which refuses them itself


class OnServe:
    """The replicas behind a handle of Ray Serve, which chooses the one that has least to do."""

    def __init__(self, handle: Any) -> None:
        self._streams = handle.options(stream=True)
        self._handle = handle

    async def answer(self, method: str, path: str, body: bytes) -> AsyncIterator[Message]:
        """The ASGI messages of an answer, as they come; closing the iterator ends the request."""
        response = self._streams.answer.remote(method, path, body)
        try:
            async for message in response:
                yield message
        finally:
            response.cancel()

    async def alive(self) -> bool:
        """Whether a replica answers."""
        try:
            return bool(await asyncio.wait_for(_result(self._handle.ping.remote()), PING_SECONDS))
        # a replica that died, and all that Ray wraps around it
        except Exception:
            return False


def run_replicas(spec: Spec, cluster: Cluster, announce: Callable[[str], None]) -> None:
    """Serve until a signal; `announce` takes the address once every replica has its model.

    Raises:
        MissingExtra: Ray is not installed.
        BatchError: the machine, or the cluster, has no room for the replicas.
        ServeError: the port is taken, others could reach it without a token, or a replica cannot
            start.
    """
    need_ray()
    settings = spec.settings
    check_safe(settings)
    # before replicas are started, which takes a while
    bind(settings.host, settings.port).close()

    ray = start_ray(cluster)
    try:
        cluster = fitted(ray, cluster)
        # the front alone compares tokens
        inner = replace(spec, settings=replace(settings, tokens=()))
        front = Front(OnServe(_deploy(inner, cluster)), settings.limits, cluster.workers)
        run_app(build_front(front, settings.tokens), front, settings, announce)
    finally:
        _stop(ray)


def _deploy(spec: Spec, cluster: Cluster) -> Any:
    """The handle of the replicas, once all of them run."""
    from ray import serve

    quiet("ray.serve")
    # Ray's own proxy would let requests in that nobody has checked
    logging = {"enable_access_log": False, "log_level": "ERROR"}
    serve.start(proxy_location="Disabled", logging_config=logging)
    limits = spec.settings.limits
    deployment = serve.deployment(
        name=NAME,
        num_replicas=cluster.workers,
        ray_actor_options={"num_cpus": cluster.cpus, "num_gpus": cluster.gpus},
        max_ongoing_requests=limits.waiting + limits.batch + SPARE,
        graceful_shutdown_timeout_s=spec.settings.grace,
        logging_config=logging,
    )(Replica)

    try:
        return serve.run(deployment.bind(spec), name=NAME, route_prefix=None)
    except Exception as error:
        raise ServeError(f"the replicas cannot start: {shorten(str(error), 600)}") from error


def _stop(ray: Any) -> None:
    """End the replicas and Ray."""
    from ray import serve

    try:
        serve.shutdown()
    finally:
        ray.shutdown()


async def _result(response: Any) -> Any:
    return await response
