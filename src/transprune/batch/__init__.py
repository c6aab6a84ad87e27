"""`transprune batch`: one question, or one a row, about very many pictures.

    inputs/    rows of a folder, of parquet or of JSON lines, here or in an object store
    plan       rows -> shards, without those that are answered already
    engine     a shard -> answers: pictures read, batches sorted by visual length
    runner     a batch on the model; what goes wrong stays in its row
    parts      a shard's answers as one Parquet file, visible only when it is whole
    drivers/   the shards one after the other in this process, or on the actors of Ray Data
    launch     all of it, from the options to the summary

A shard is the unit of everything: it is answered by one process, written at once, and named by what
is in it. So both drivers write the same files, and a job that was killed goes on without doing a
written row again.
"""

from __future__ import annotations

from importlib.util import find_spec

from transprune.errors import MissingExtra


def need_pyarrow() -> None:
    """Check that Parquet can be written.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise MissingExtra("answers are written as Parquet: pip install 'transprune[batch]'")


def need_ray() -> None:
    """Check that several workers can run.

    Raises:
        MissingExtra: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise MissingExtra(
            "several workers run on Ray: pip install 'transprune[ray]'; or leave out --workers, "
            "--replicas and --ray-address to run in one process"
        )
