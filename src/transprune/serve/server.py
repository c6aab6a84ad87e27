"""Start a server: load the model, bind the port, and run until a signal."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import uvicorn

from transprune.errors import ServeError
from transprune.models.checkpoint import Checkpoint
from transprune.serve.app import build_app
from transprune.serve.fetch import Fetcher
from transprune.serve.guard import is_loopback
from transprune.serve.limits import Limits
from transprune.serve.recipes import Recipes
from transprune.serve.service import Service

HEADERS = 16 * 1024  # bytes of a request's first line and headers


@dataclass(frozen=True)
class Settings:
    """How a server is reached.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        tokens: bearer tokens; needed wherever others can reach the port.
        url_hosts: hosts from which pictures may be fetched.
        grace: seconds for what runs and waits when it is told to stop.
        limits: bounds of requests.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tokens: tuple[str, ...] = ()
    url_hosts: tuple[str, ...] = ()
    grace: float = 30.0
    limits: Limits = field(default_factory=Limits)


class Draining(Protocol):
    """What is told that the server stops."""

    draining: bool


class _Server(uvicorn.Server):
    """Says that it is no longer ready as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, service: Draining) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop to accept; a second signal ends what runs."""
        self._service.draining = True
        super().handle_exit(sig, frame)


def read_tokens(file: Path | None, variable: str | None) -> tuple[str, ...]:
    """Bearer tokens: one per line of a file, and one of an environment variable.

    Raises:
        ServeError: the file cannot be read or has none.
    """
    tokens = [variable.strip()] if variable and variable.strip() else []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ServeError(f"the tokens in {file} cannot be read: {error}") from error

        found = [line.strip() for line in lines if line.strip()]
        # an empty file would leave the server open to everybody
        if not found:
            raise ServeError(f"{file} has no token; write one per line")

        tokens += found

    if any(not token.isascii() or " " in token for token in tokens):
        raise ServeError("a token is ASCII without spaces, because it travels in a header")
    return tuple(tokens)


def run_server(
    checkpoint: Checkpoint,
    recipes: Recipes,
    settings: Settings,
    announce: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve until a signal; `announce` takes the address once it is bound.

    Raises:
        ServeError: the port is taken, or others could reach it without a token.
    """
    check_safe(settings)
    fetcher = Fetcher(settings.url_hosts, settings.limits)
    service = Service(checkpoint, recipes, settings.limits, fetcher)
    run_app(build_app(service, settings.tokens, settings.grace), service, settings, announce)


def check_safe(settings: Settings) -> None:
    """Refuse an address that others can reach without a token.

    Raises:
        ServeError: there is none.
    """
    if not settings.tokens and not is_loopback(settings.host):
        raise ServeError(
            f"others can reach {settings.host}, so a token is needed: --api-key-file FILE, or the "
            "environment variable TRANSPRUNE_API_KEY; or listen on 127.0.0.1"
        )


def run_app(
    app: Any, service: Draining, settings: Settings, announce: Callable[[str], None]
) -> None:
    """Serve an application until a signal.

    Raises:
        ServeError: the port is taken.
    """
    config = uvicorn.Config(
        app,
        # uvicorn prefers httptools where that is installed (Ray Serve brings it), which bounds no
        # headers: a client without a token could fill the memory
        http="h11",
        log_config=None,
        access_log=False,  # its lines would hold what clients write into addresses
        server_header=False,
        ws="none",
        h11_max_incomplete_event_size=HEADERS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    # what is loaded now stays: looking for garbage then takes milliseconds
    gc.collect()
    gc.freeze()
    with bind(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{port}")
        _Server(config, service).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        ServeError: the address is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # a server that was just stopped leaves its port taken for a while
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ServeError(
            f"cannot listen on {host}:{port} ({error}); choose another --port or --host"
        ) from error

    return listener
