"""`transprune serve`: an OpenAI-compatible endpoint, with a method for each request."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transprune.cli.console import err
from transprune.cli.options import (
    Attention,
    AttentionOption,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Method,
    Model,
    OptionalThreads,
    TextTower,
    load_options,
)
from transprune.cli.serve_replicas import Replicas, serve_replicas
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from transprune.serve.replicas.replica import Spec

KEY = "TRANSPRUNE_API_KEY"
MIB = 2**20
DAY = 86_400.0  # seconds

Offer = Annotated[
    list[str] | None,
    typer.Option(
        "--offer",
        metavar="METHOD",
        help="Another method that requests may ask for; repeat for several. Default: "
        "transprune-high and -low, fastv, pdrop, sparsevlm, visionzip and divprune, where they fit "
        "the model. 'unpruned' is always on offer.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="Name of the model for clients; default: that of its folder."
    ),
]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")]
Port = Annotated[
    int,
    typer.Option("--port", min=0, max=65535, metavar="N", help="Port; 0 takes a free one."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        help=f"Bearer tokens, one per line; {KEY} holds another. Needed off loopback.",
    ),
]
AllowUrl = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-url",
        metavar="HOST",
        help="Host from which pictures may be fetched by http(s); repeat for several.",
    ),
]
MaxBatch = Annotated[
    int, typer.Option("--max-batch", min=1, metavar="N", help="Requests that run together.")
]
BatchTokens = Annotated[
    int,
    typer.Option("--max-batch-tokens", min=1, metavar="N", help="Prompt tokens that run together."),
]
Gather = Annotated[
    float,
    typer.Option("--gather-ms", min=0, metavar="MS", help="How long a request waits for others."),
]
Queue = Annotated[
    int,
    typer.Option("--queue", min=0, metavar="N", help="Requests that may wait; then 429."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=0.1, max=DAY, metavar="S", help="Seconds for a whole request."),
]
MaxBody = Annotated[
    int, typer.Option("--max-body-mib", min=1, metavar="N", help="Size of a request.")
]
MaxPending = Annotated[
    int,
    typer.Option(
        "--max-pending-mib", min=1, metavar="N", help="Size of all requests that wait; then 429."
    ),
]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, metavar="N", help="Pixels of a picture.")
]
MaxImages = Annotated[
    int, typer.Option("--max-images", min=0, metavar="N", help="Pictures of a request.")
]
PromptTokens = Annotated[
    int,
    typer.Option("--max-prompt-tokens", min=1, metavar="N", help="Tokens of a prompt."),
]
NewTokens = Annotated[
    int,
    typer.Option(
        "--max-new-tokens",
        min=1,
        metavar="N",
        help="Length limit of an answer, in tokens; also the default of a request.",
    ),
]
Reuse = Annotated[
    int,
    typer.Option(
        "--reuse-mib", min=0, metavar="N", help="Memory for work that is used again; 0: none."
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace", min=0, max=DAY, metavar="S", help="Seconds to finish when it is stopped."
    ),
]


def serve_command(
    model: Model = "nano",
    method: Method = "transprune-high",
    offer: Offer = None,
    name: Name = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: KeyFile = None,
    allow_url: AllowUrl = None,
    max_batch: MaxBatch = 16,
    max_batch_tokens: BatchTokens = 65_536,
    gather_ms: Gather = 3.0,
    queue: Queue = 256,
    timeout: Timeout = 120.0,
    max_body_mib: MaxBody = 20,
    max_pending_mib: MaxPending = 512,
    max_pixels: MaxPixels = 25_000_000,
    max_images: MaxImages = 8,
    max_prompt_tokens: PromptTokens = 8_192,
    max_new_tokens: NewTokens = 512,
    reuse_mib: Reuse = 256,
    grace: Grace = 30.0,
    replicas: Replicas = 1,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    threads: OptionalThreads = None,
) -> None:
    """Serve a model by OpenAI's interface, pruned as each request asks.

    --method is used where a request names none: its field `pruning`, or the model's suffix as in
    nano@transprune-low.
    """
    from transprune.serve import check_installed
    from transprune.serve.limits import Limits

    check_installed()
    limits = Limits(
        body_bytes=max_body_mib * MIB,
        pending_bytes=max_pending_mib * MIB,
        pixels=max_pixels,
        pictures=max_images,
        prompt_tokens=max_prompt_tokens,
        new_tokens=max_new_tokens,
        waiting=queue,
        batch=max_batch,
        batch_tokens=max_batch_tokens,
        gather_seconds=gather_ms / 1000,
        seconds=timeout,
        reuse_bytes=reuse_mib * MIB,
    )

    use_threads(threads if replicas == 1 else 1)
    from transprune.serve.replicas.replica import Spec
    from transprune.serve.server import Settings, read_tokens

    settings = Settings(
        host=host,
        port=port,
        tokens=read_tokens(api_key_file, os.environ.get(KEY)),
        url_hosts=tuple(found.lower() for found in allow_url or ()),
        grace=grace,
        limits=limits,
    )

    _log_to_stderr()
    spec = Spec(
        model=model,
        loading=load_options(dtype, device, attn, text_tower),
        name=name or _name_of(model),
        method=method,
        offered=None if offer is None else tuple(offer),
        settings=settings,
        threads=threads or max(1, (os.cpu_count() or 1) // replicas),
    )

    if replicas > 1:
        serve_replicas(spec, replicas, _say)
    else:
        _serve_here(spec)


def _serve_here(spec: Spec) -> None:
    """Load the model in this process, and answer until a signal."""
    from transprune.cli.guard import quiet_libraries
    from transprune.models.checkpoint import load
    from transprune.models.source import is_local
    from transprune.serve.recipes import Recipes
    from transprune.serve.server import run_server

    downloads = not is_local(spec.model)
    with quiet_libraries(bars=downloads and sys.stderr.isatty()):
        checkpoint = load(spec.model, spec.loading)
        recipes = Recipes(checkpoint, spec.name, spec.method, spec.offered)

        def announce(address: str) -> None:
            """Say where it is, and what it offers."""
            methods = ", ".join(recipe.name for recipe in recipes)
            _say(f"{spec.name} at {address}/v1 with {methods}; without a name: {spec.method}")
            _say(f"a page to try it: {address}/")

        run_server(checkpoint, recipes, spec.settings, announce)


def _name_of(model: str) -> str:
    """`llava-1.5-7b-hf` of a folder, a hub id as it is."""
    folder = Path(model)
    return folder.resolve().name if folder.exists() else model


def _say(line: str) -> None:
    err().print(line, soft_wrap=True, markup=False, highlight=False)


def _log_to_stderr() -> None:
    """One line per request on stderr, with times."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("transprune.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
