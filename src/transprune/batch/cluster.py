"""Ray itself: started on this machine for one job, or a cluster that runs already."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transprune.core.shown import shorten
from transprune.errors import BatchError

LOCAL = "local"  # without an address Ray would join a cluster that somebody else has started here
STORE_BYTES = 100 * 2**20  # of Ray's object store, which holds names of rows and texts only

# Read when Ray is imported. A library reports nothing of its users, and what happens to a worker is
# said in our own words.
ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
# Of Ray that is started for one job: it listens on loopback instead of on every interface (what it
# does by itself on macOS and Windows, hence the name), and asks for a token there.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}

ADDRESS_HINT = (
    ". Does it run there? A cluster with token authentication wants RAY_AUTH_MODE=token and its token "
    "in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
)


@dataclass(frozen=True)
class Cluster:
    """Where the workers run.

    Attributes:
        workers: how many.
        address: of a running cluster, `"auto"` for that of this machine, `"local"` to start one for
            this job; None: that of the environment (RAY_ADDRESS, as in a job of a cluster), or
            `"local"`.
        cpus, gpus: that one worker takes; GPUs None: one, if the cluster has as many as workers.
    """

    workers: int
    address: str | None = None
    cpus: int = 1
    gpus: int | None = 0


def start_ray(cluster: Cluster) -> Any:
    """Ray, started here or connected to a cluster.

    Raises:
        BatchError: it cannot be.
    """
    address = cluster.address or os.environ.get("RAY_ADDRESS") or LOCAL
    alone = address == LOCAL
    for name, value in ({**ALWAYS, **ALONE} if alone else ALWAYS).items():
        os.environ.setdefault(name, value)

    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "address": address}
    if alone:
        options |= {
            # actors that take every CPU would leave none for Ray's own tasks, and wait for ever
            "num_cpus": cluster.workers * cluster.cpus + 1,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }

    try:
        ray.init(**options)
    except Exception as error:
        hint = "" if alone else ADDRESS_HINT
        raise BatchError(f"Ray cannot be started: {shorten(str(error), 400)}{hint}") from error

    return ray


def quiet(library: str) -> None:
    """Keep a part of Ray off the terminal, which gets its errors from us in one line.

    To be called behind its import, which sets up its log.
    """
    logging.getLogger(library).setLevel(logging.CRITICAL)


def settle(threads: int | None) -> None:
    """What a worker's process does first: keep transformers quiet, and bound its CPU threads."""
    import torch
    from transformers.utils import logging as library

    library.set_verbosity_error()
    library.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)


def fitted(ray: Any, cluster: Cluster) -> Cluster:
    """The cluster with its GPUs decided; more workers than it has room for would wait for ever.

    Raises:
        BatchError: it is too small.
    """
    there = ray.cluster_resources()
    found = int(there.get("GPU", 0))
    gpus = cluster.gpus
    if gpus is None:
        # a machine that starts the job may have none, while those of the workers do
        gpus = int(found > 0)

    _check(there, "CPU", cluster.workers * cluster.cpus + 1, "and one for Ray itself")
    if gpus:
        _check(there, "GPU", cluster.workers * gpus, "one for each worker; --device cpu needs none")
    return replace(cluster, gpus=gpus)


def _check(there: Mapping[str, float], name: str, needed: int, why: str) -> None:
    found = there.get(name, 0)
    if found < needed:
        raise BatchError(
            f"this needs {needed} {name}s ({why}), and the cluster has {found:g}. Use fewer "
            "--workers, --replicas or --threads"
        )


def gpus_for(device: str) -> int | None:
    """GPUs of one worker by the name of its device; None where the cluster decides."""
    if device == "auto":
        return None
    return int(device != "cpu")
