"""Answer one shard and write it: what every driver does, in whatever process."""

from __future__ import annotations

import time
from pathlib import Path

from transprune.batch.engine import Engine, OnBatch
from transprune.batch.parts import Written, find_part, write_part
from transprune.batch.row import Shard


def answer_shard(
    engine: Engine, out: Path, packed: bytes, on_batch: OnBatch = lambda rows, errors: None
) -> Written:
    """Answer a packed shard, unless its file is there.

    A worker may have been killed between the renaming of its file and the report that it is done;
    the shard then comes a second time.

    Raises:
        BatchError: the device failed, or the file cannot be written.
    """
    shard = Shard.unpack(packed)
    known = find_part(out, shard.name)
    if known is not None:
        on_batch(known.rows, known.errors)
        return known

    start = time.perf_counter()
    answers = engine.answer(shard.rows, on_batch)
    write_part(out, shard.name, answers)
    errors = sum(answer.error is not None for answer in answers)
    seconds = time.perf_counter() - start
    return Written(shard.name, len(answers), errors, engine.notes, seconds)
