"""Warnings of ours since the command began: told once on stderr, and listed in every JSON document."""

from __future__ import annotations

_told: list[str] = []


def forget() -> None:
    """A new command begins."""
    _told.clear()


def tell(text: str) -> bool:
    """Remember a warning; whether it is new."""
    if text in _told:
        return False
    _told.append(text)
    return True


def told() -> list[str]:
    """All of them."""
    return list(_told)
