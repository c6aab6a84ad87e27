"""Values of other people in our messages: one line, and never longer than a line can be."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

LONGEST = 200  # characters

_repr = Repr()
_repr.maxlevel = 4
_repr.maxstring = _repr.maxother = _repr.maxlong = LONGEST
_repr.maxdict = _repr.maxlist = _repr.maxtuple = _repr.maxset = 8


def shown(value: Any) -> str:
    """The `repr` of a value as one line of at most 200 characters.

    Of long lists the first entries are shown; the ends of long texts.
    """
    try:
        return shorten(_repr.repr(value))
    # a `repr` is a program, and Python refuses to write whole numbers of thousands of digits
    except Exception:
        return f"a value of type {type(value).__name__}"


def shorten(text: str, longest: int = LONGEST) -> str:
    """A text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."
