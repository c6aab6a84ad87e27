"""The shards on actors of Ray Data, each with its own model.

Pictures do not pass through Ray: a shard names its rows, and the actor that gets it reads them, writes
its file and reports a line. An actor that is killed is started again, and its shard with it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.batch.parts import Written
from transprune.batch.settings import SETTINGS_FILE, Work
from transprune.core.shown import shorten
from transprune.errors import BatchError

STORE_BYTES = 100 * 2**20  # of Ray's object store, which holds names of rows only
TRIES = 3  # of a shard whose worker dies: it may be what kills it
SHARD, WRITTEN = "shard", "written"


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


class Worker:
    """An actor: loads the model once, and answers the shards it is given.

    Args:
        work: what to do.
        out: folder of the answers, which every worker must see.
    """

    def __init__(self, work: Work, out: str) -> None:
        from transprune.batch.engine import Engine

        self._out = Path(out)
        if not (self._out / SETTINGS_FILE).exists():
            raise BatchError(
                f"a worker on {os.uname().nodename} does not see {out}; the folder of the answers "
                "has to be on a file system that all machines share"
            )
        _quiet(work.threads)
        self._engine = Engine(work)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Answer packed shards. Columns of numpy in, columns of numpy out."""
        import numpy as np

        from transprune.batch.drivers.shard import answer_shard

        written = []
        for packed in rows[SHARD]:
            written.append(answer_shard(self._engine, self._out, bytes(packed)).to_json())
        return {WRITTEN: np.array(written, dtype=object)}


def run_on_ray(
    work: Work, out: Path, shards: Sequence[bytes], cluster: Cluster
) -> Iterator[Written]:
    """Answer packed shards on the workers of a cluster, in whatever order they are done.

    Raises:
        BatchError: the cluster is too small, or a worker cannot go on.
    """
    ray = _start(cluster)
    try:
        _check_room(ray, cluster)
        for row in _answers(ray, work, out, shards, cluster).iter_rows():
            yield Written.from_json(row[WRITTEN])
    except BatchError:
        raise
    # Ray wraps the errors of a worker several times over
    except Exception as error:
        raise BatchError(_cause(error)) from error
    finally:
        ray.shutdown()


def _start(cluster: Cluster) -> Any:
    """Ray, started here or connected to a cluster.

    Raises:
        BatchError: it cannot be.
    """
    # both are read when it is imported: a library reports nothing of its users, and what happens to
    # a worker is in our own words
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
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


def _check_room(ray: Any, cluster: Cluster) -> None:
    """Refuse more workers than the cluster has room for: they would wait for ever."""
    there = ray.cluster_resources()
    for name, each, spare in (("CPU", cluster.cpus, 1), ("GPU", cluster.gpus, 0)):
        needed = cluster.workers * each + spare if each else 0
        if there.get(name, 0) < needed:
            raise BatchError(
                f"{cluster.workers} workers need {needed} {name}s ({each} each"
                + (", and one for Ray itself" if spare else "")
                + f"); the cluster has {there.get(name, 0):g}. Use fewer --workers or --threads"
            )


def _answers(ray: Any, work: Work, out: Path, shards: Sequence[bytes], cluster: Cluster) -> Any:
    """The data set whose rows are reports of written shards."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False

    # a block each: a worker takes the next one when it is done with its own
    items = [{SHARD: packed} for packed in shards]
    rows = ray.data.from_items(items, override_num_blocks=len(items))
    return rows.map_batches(
        Worker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=cluster.workers, max_tasks_in_flight_per_actor=1),
        fn_constructor_kwargs={"work": work, "out": str(out)},
        num_cpus=cluster.cpus,
        num_gpus=cluster.gpus,
        # workers are started again without end, a shard is not
        ray_remote_args_fn=lambda: {"max_task_retries": TRIES},
    )


def _cause(error: BaseException) -> str:
    """The sentence of the innermost error."""
    inner: BaseException | None = error
    while inner is not None:
        last = inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    return f"a worker cannot go on: {shorten(str(last), 600) or type(last).__name__}"


def _quiet(threads: int | None) -> None:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
