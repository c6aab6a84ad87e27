"""What earlier requests computed, kept for later ones within a bound of bytes.

The oldest unused entry goes first. Only the inference thread touches it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from transprune.serve.metrics import Metrics


class Reuse:
    """Values by key, the least recently used ones dropped.

    Args:
        most: bytes that may be kept; 0 keeps nothing.
        metrics: counts hits and misses by the first word of a key.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._entries: OrderedDict[tuple[Hashable, ...], tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return self._most > 0

    def get(self, key: tuple[Hashable, ...]) -> Any:
        """The value of a key, or None."""
        found = self._entries.get(key)
        self._metrics.reused(str(key[0]), hit=found is not None)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: tuple[Hashable, ...], value: Any, size: int) -> None:
        """Keep a value of `size` bytes, unless it alone is too large."""
        if size > self._most:
            return

        self._drop(key)
        self._entries[key] = (value, size)
        self._bytes += size

        # the least recently used first; the new one fits, as was seen above
        while self._bytes > self._most:
            self._drop(next(iter(self._entries)))
        self._metrics.reuse_bytes.set(self._bytes)

    def _drop(self, key: tuple[Hashable, ...]) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self._bytes -= size
