"""All shards in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from transprune.batch.drivers.shard import answer_shard
from transprune.batch.engine import Engine, OnBatch
from transprune.batch.parts import Written
from transprune.batch.settings import Work


def run_here(
    work: Work, out: Path, shards: Sequence[bytes], on_batch: OnBatch
) -> Iterator[Written]:
    """Answer packed shards; `on_batch` is called after every batch.

    Raises:
        PruneError: the model or the method cannot be used, or the job cannot go on.
    """
    engine = Engine(work)
    for packed in shards:
        yield answer_shard(engine, out, packed, on_batch)
