"""`transprune serve --replicas N`: several processes behind one address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from transprune.serve.replicas.replica import Spec

Replicas = Annotated[
    int,
    typer.Option(
        "--replicas",
        min=1,
        metavar="N",
        help="Processes with a model each; more than one run on Ray Serve (`ray` extra).",
    ),
]


def serve_replicas(spec: Spec, replicas: int, say: Callable[[str], None]) -> None:
    """Serve with several processes, behind one address."""
    from transprune.batch.cluster import LOCAL, Cluster, gpus_for
    from transprune.core.plan import UNPRUNED
    from transprune.methods.common.recipe import resolve
    from transprune.serve.replicas.launch import run_replicas

    # a typo shows before anything is started
    for method in (spec.method, *(spec.offered or ())):
        if method != UNPRUNED:
            resolve(method)

    def announce(address: str) -> None:
        """Say where it is, and how many answer."""
        say(f"{spec.name} at {address}/v1 with {replicas} replicas; without a name: {spec.method}")

    cluster = Cluster(replicas, LOCAL, spec.threads, gpus_for(spec.loading.device))
    run_replicas(spec, cluster, announce)
