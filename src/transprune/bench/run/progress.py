"""Progress of a benchmark, for a progress bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How many answers of the whole run there are, and which condition is running.

    While time and memory are measured, conditions are counted instead of answers. Before the first
    answer `condition` says what is done, and the total is 0.
    """

    condition: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """Do nothing; the default of every `on_progress` argument."""
