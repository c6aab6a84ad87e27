"""What stands in front of every route: the Host header, and bearer tokens.

Without tokens a server only answers to the names of this machine. A page in a browser could
otherwise reach it under a name of its own that resolves to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from transprune.serve.refusal import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health", "/ready")  # for load balancers, which have no token
LOCAL = "localhost"


class Guard:
    """An ASGI middleware that lets a request in or answers it with a refusal.

    Args:
        app: what it guards.
        tokens: bearer tokens that are accepted; none means that no token is asked for, and only
            names of this machine are answered.
        answer: sends a refusal.
        public: paths that need no token either; another Host is refused there as everywhere.
    """

    def __init__(
        self,
        app: App,
        tokens: tuple[str, ...],
        answer: Callable[[Refusal, Scope, Receive, Send], Awaitable[None]],
        public: Collection[str] = (),
    ) -> None:
        self._app = app
        self._public = public
        self._tokens = [token.encode() for token in tokens]
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            refusal = self._check(dict(scope["headers"]), scope["path"])
            if refusal is not None:
                await self._answer(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, headers: dict[bytes, bytes], path: str) -> Refusal | None:
        if not self._tokens:
            return None if is_local(headers.get(b"host", b"")) else _wrong_host()
        if path in self._public:
            return None

        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        # every token is compared, each in constant time
        matches = [hmac.compare_digest(token.strip(), known) for known in self._tokens]
        if kind.lower() == b"bearer" and any(matches):
            return None
        return Refusal(
            "this server wants a token: Authorization: Bearer ...",
            401,
            "authentication_error",
            code="invalid_api_key",
        )


def is_local(host: bytes) -> bool:
    """Whether a Host header names this machine."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    else:
        name = name.partition(":")[0]
    return name == LOCAL or is_loopback(name)


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == LOCAL


def _wrong_host() -> Refusal:
    return Refusal(
        "without tokens this server answers to localhost only; start it with --api-key-file to "
        "serve under another name",
        403,
        "permission_error",
        code="wrong_host",
    )
