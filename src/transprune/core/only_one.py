"""Keep a second process out of a folder in which one works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transprune.errors import PruneError

LOCK_FILE = ".lock"


@contextmanager
def only_one(folder: Path, busy: PruneError) -> Iterator[None]:
    """Hold a lock on the folder, where the system can (POSIX); it ends with the process.

    Args:
        folder: exists.
        busy: raised if another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows: a second process is not noticed
        yield
        return

    with (folder / LOCK_FILE).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise busy from error
        yield
