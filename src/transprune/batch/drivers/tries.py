"""How often a shard has ended its worker.

Ray gives a shard whose worker died to another one, without end. Rows that take the process with them
(an image decoder that crashes, more memory than the machine has) would be tried for ever, so each try
leaves a mark beside the files of the output until the shard is answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transprune.batch.parts import HIDDEN, PARTS
from transprune.batch.row import Shard
from transprune.errors import BatchError

MOST = 3


@contextmanager
def trying(out: Path, shard: Shard) -> Iterator[None]:
    """Inside, a process that ends without an exception has tried the shard in vain.

    Raises:
        BatchError: it has been tried too often; its rows are named.
    """
    # removed with all other unfinished files when a job starts
    mark = out / PARTS / f"{HIDDEN}tries-{shard.name}"
    with mark.open("ab") as stream:
        if stream.tell() >= MOST:
            first, last = shard.rows[0].id, shard.rows[-1].id
            raise BatchError(
                f"a worker ended {MOST} times while it answered the rows from {first!r} to "
                f"{last!r}: one of them crashes it, or the memory does not suffice. Look at them "
                "with --limit and a smaller --part-rows, or use a smaller --batch-size"
            )

        stream.write(b".")

    yield
    mark.unlink(missing_ok=True)
