"""Errors of libraries in our messages."""

from __future__ import annotations

LONGEST = 200  # characters


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its type."""
    lines = str(error).splitlines()
    return lines[0][:LONGEST] if lines else type(error).__name__
