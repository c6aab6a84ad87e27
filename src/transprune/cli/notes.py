"""The warnings of the running command: shown once on stderr, and listed in its JSON document."""

from __future__ import annotations

_notes: list[str] = []


def clear() -> None:
    """Forget the warnings of an earlier command in this process."""
    _notes.clear()


def add(text: str) -> bool:
    """Store a warning. Returns True if it is new."""
    if text in _notes:
        return False
    _notes.append(text)
    return True


def all_notes() -> list[str]:
    """The warnings since the last `clear`, in order."""
    return list(_notes)
