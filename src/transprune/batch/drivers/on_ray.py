"""The shards on actors of Ray Data, each with its own model.

Pictures do not pass through Ray: a shard names its rows, and the actor that gets it reads them, writes
its file and reports a line. An actor that is killed is started again, and its shard with it.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transprune.batch.cluster import Cluster, fitted, quiet, settle, start_ray
from transprune.batch.drivers.tries import trying
from transprune.batch.parts import Written
from transprune.batch.row import Shard
from transprune.batch.settings import SETTINGS_FILE, Work
from transprune.core.shown import shorten
from transprune.errors import BatchError, PruneError

if TYPE_CHECKING:
    from transprune.batch.engine import Engine

SHARD, WRITTEN, PROBLEM = "shard", "written", "problem"


class Worker:
    """An actor: loads the model once, and answers the shards it is given.

    What is wrong is reported in our own words; an exception would come back inside several of Ray's.

    Args:
        work: what to do.
        out: folder of the answers, which every worker must see.
    """

    def __init__(self, work: Work, out: str) -> None:
        self._out = Path(out)
        self._engine: Engine | None = None
        self._problem = ""
        try:
            self._engine = _start_engine(work, self._out)
        except PruneError as error:
            self._problem = str(error)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Answer packed shards. Columns of numpy in, columns of numpy out."""
        import numpy as np

        outcomes = [self._answer(bytes(packed)) for packed in rows[SHARD]]
        written, problems = zip(*outcomes, strict=True)

        return {
            WRITTEN: np.array(written, dtype=object),
            PROBLEM: np.array(problems, dtype=object),
        }

    def _answer(self, packed: bytes) -> tuple[str, str]:
        """What was written, and what is wrong; one of them is empty."""
        from transprune.batch.drivers.shard import answer_shard

        if self._engine is None:
            return "", self._problem
        try:
            with trying(self._out, Shard.unpack(packed)):
                return answer_shard(self._engine, self._out, packed).to_json(), ""
        except PruneError as error:
            return "", str(error)


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
            if row[PROBLEM]:
                raise BatchError(f"a worker cannot go on: {row[PROBLEM]}")
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
    """The last line of what Ray says; it ends with the error of the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    return f"a worker cannot go on: {shorten(said, 600)}"


def _start_engine(work: Work, out: Path) -> Engine:
    """The engine of a worker.

    Raises:
        BatchError: the worker does not see the folder of the answers.
        CheckpointError, FamilyError, MethodError: the model or the method cannot be used.
    """
    from transprune.batch.engine import Engine

    if not (out / SETTINGS_FILE).exists():
        raise BatchError(
            f"the machine {platform.node()} does not see {out}; the folder of the answers has to "
            "be on a file system that all machines share"
        )

    settle(work.threads)
    return Engine(work)
