"""What the report calls while it works."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called at the start of every step, and for every part of it."""

    def __call__(self, step: str, done: int = 0, total: int = 0) -> None:
        """The name of the step, and how much of it is done of how much (0: unknown)."""


def silent(step: str, done: int = 0, total: int = 0) -> None:
    """Tell nobody."""


def named(step: str, progress: Progress) -> Progress:
    """The same callback for the parts of one step, whatever they call themselves."""
    return lambda part, done=0, total=0: progress(step, done, total)
