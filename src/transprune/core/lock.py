"""Keep a second process away from a file."""

from __future__ import annotations

from typing import IO, Any

from transprune.errors import PruneError


def hold(stream: IO[Any], busy: PruneError) -> None:
    """Lock an open file for this process, where the system can (POSIX); closing it lets it go.

    Args:
        stream: open for writing.
        busy: raised if another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows: a second process is not noticed
        return

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise busy from error
