"""Flags that passes left on the device, until they are read where that costs no wait of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from transprune.runtime.checks import read_flags, to_read
from transprune.runtime.record import Record


class Unread:
    """The records of finished passes whose flags nobody has read yet."""

    def __init__(self) -> None:
        # threads that share a model add and take from both ends at the same time
        self._records: deque[Record] = deque()

    def add(self, record: Record) -> None:
        """Note a pass that ended."""
        self._records.append(record)

    def now(self) -> list[Record]:
        """Those there are at this moment; other passes may end meanwhile."""
        return list(self._records)

    def read(self) -> None:
        """Read the flags of all.

        Raises:
            MethodError: a method of a third party returned no valid selection.
        """
        while self._records:
            read_flags(self._records.popleft())

    def read_copied(self, records: Sequence[Record], copies: Sequence[NDArray[Any]]) -> None:
        """Read the flags of `records` from copies of `flags_of` them, then those of the others.

        Raises:
            MethodError: as `read`.
        """
        found = iter(copies)
        for record in records:
            read_flags(record, [next(found) for _ in to_read(record)])
        self.read()


def flags_of(records: Sequence[Record]) -> list[Tensor]:
    """What the checks of these passes left on the device."""
    return [flag for record in records for flag in to_read(record)]
