"""The shards on actors of Ray Data, each with its own model.

Pictures do not pass through Ray: a shard names its rows, and the actor that gets it reads them, writes
its file and reports a line. An actor that is killed is started again, and its shard with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transprune.batch.cluster import Cluster, fitted, quiet, start_ray
from transprune.batch.drivers.tries import trying
from transprune.batch.parts import Written
from transprune.batch.row import Shard
from transprune.batch.settings import SETTINGS_FILE, Work
from transprune.core.shown import shorten
from transprune.errors import BatchError

SHARD, WRITTEN = "shard", "written"


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
            with trying(self._out, Shard.unpack(bytes(packed))):
                written.append(answer_shard(self._engine, self._out, bytes(packed)).to_json())
        return {WRITTEN: np.array(written, dtype=object)}


def run_on_ray(
    work: Work, out: Path, shards: Sequence[bytes], cluster: Cluster
) -> Iterator[Written]:
    """Answer packed shards on the workers of a cluster, in whatever order they are done.

    Raises:
        BatchError: the cluster is too small, or a worker cannot go on.
    """
    ray = start_ray(cluster)
    try:
        cluster = fitted(ray, cluster)
        for row in _answers(work, out, shards, cluster).iter_rows():
            yield Written.from_json(row[WRITTEN])
    except BatchError:
        raise
    # Ray wraps the errors of a worker several times over
    except Exception as error:
        raise BatchError(_cause(error)) from error
    finally:
        ray.shutdown()


def _answers(work: Work, out: Path, shards: Sequence[bytes], cluster: Cluster) -> Any:
    """The data set whose rows are reports of written shards."""
    from ray import data

    quiet("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False

    # a block each: a worker takes the next one when it is done with its own
    items = [{SHARD: packed} for packed in shards]
    rows = data.from_items(items, override_num_blocks=len(items))
    return rows.map_batches(
        Worker,
        batch_size=1,
        compute=data.ActorPoolStrategy(size=cluster.workers, max_tasks_in_flight_per_actor=1),
        fn_constructor_kwargs={"work": work, "out": str(out)},
        num_cpus=cluster.cpus,
        num_gpus=cluster.gpus,
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
