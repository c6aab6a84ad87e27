"""Numbers as people read them: shares, times, counts and bytes, with three significant digits."""

from __future__ import annotations


def percent(share: float, digits: int = 1) -> str:
    """`0.4096` -> `41.0%`; a whole is `100%`."""
    if share == 1:
        return "100%"
    return f"{100 * share:.{digits}f}%"


def duration(seconds: float | None) -> str:
    """`0.0213` -> `21.3 ms`, `2.13` -> `2.13 s`, None -> `-`."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{_three_digits(seconds)} s"
    return f"{_three_digits(1000 * seconds)} ms"


def scientific(count: float) -> str:
    """`3.8212e12` -> `3.82 T`, with the usual letters for FLOPs."""
    for letter, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{_three_digits(count / size)} {letter}"
    return f"{count:.0f}"


def mebibytes(count: int) -> str:
    """`301989888` bytes -> `288 MiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{_three_digits(count / size)} {unit}"
    return f"{_three_digits(count / 2**10)} KiB"


def with_share(amount: str, share: float, digits: int = 1) -> str:
    """`1.56 T 40.8%`, padded so that the shares of a column stand below each other."""
    width = digits + 4 if digits else 4  # "100%" is the longest without digits
    return f"{amount} {percent(share, digits):>{width}}"


def _three_digits(number: float) -> str:
    """`3.82`, `38.2`, `382`."""
    # the limits lie half a digit below 10 and 100, where rounding would add a digit
    if number < 9.995:
        return f"{number:.2f}"
    if number < 99.95:
        return f"{number:.1f}"
    return f"{number:.0f}"
