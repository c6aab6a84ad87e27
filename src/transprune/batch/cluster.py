"""Ray itself: started on this machine for one job, or a cluster that runs already."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from transprune.core.shown import shorten
from transprune.errors import BatchError

STORE_BYTES = 100 * 2**20  # of Ray's object store, which holds names of rows and texts only


@dataclass(frozen=True)
class Cluster:
    """Where the workers run.

    Attributes:
        workers: how many.
        address: of a running cluster, or `"auto"`; None starts one on this machine.
        cpus, gpus: that one worker takes.
    """

    workers: int
    address: str | None = None
    cpus: int = 1
    gpus: int = 0


def start_ray(cluster: Cluster) -> Any:
    """Ray, started here or connected to a cluster.

    Raises:
        BatchError: it cannot be.
    """
    # both are read when it is imported: a library reports nothing of its users, and what happens to
    # a worker is in our own words
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address is None and not os.environ.get("RAY_ADDRESS"):
        options |= {
            # actors that take every CPU would leave none for Ray's own tasks, and wait for ever
            "num_cpus": cluster.workers * cluster.cpus + 1,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            # nothing of it is for other machines
            "_node_ip_address": "127.0.0.1",
        }
        if cluster.gpus:
            options["num_gpus"] = cluster.workers * cluster.gpus
    else:
        options["address"] = cluster.address or os.environ["RAY_ADDRESS"]

    try:
        ray.init(**options)
    except Exception as error:
        raise BatchError(f"Ray cannot be started: {shorten(str(error), 400)}") from error
    return ray


def quiet(library: str) -> None:
    """Let a part of Ray write errors only; each sets up its own log when it is imported."""
    logging.getLogger(library).setLevel(logging.ERROR)


def check_room(ray: Any, cluster: Cluster) -> None:
    """Refuse more workers than the cluster has room for: they would wait for ever.

    Raises:
        BatchError: it is too small.
    """
    there = ray.cluster_resources()
    for name, each, spare in (("CPU", cluster.cpus, 1), ("GPU", cluster.gpus, 0)):
        needed = cluster.workers * each + spare if each else 0
        if there.get(name, 0) < needed:
            raise BatchError(
                f"{cluster.workers} workers need {needed} {name}s ({each} each"
                + (", and one for Ray itself" if spare else "")
                + f"); the cluster has {there.get(name, 0):g}. Use fewer --workers or --threads"
            )


def gpus_for(device: str) -> int:
    """GPUs of one worker: one, where its model goes to one."""
    if device != "auto":
        return int(device != "cpu")
    import torch

    return int(torch.cuda.is_available())
