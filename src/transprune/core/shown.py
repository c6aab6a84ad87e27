"""Values of other people in our messages: one line, and never longer than a line can be."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

LONGEST = 200  # characters

_shorten = Repr()
_shorten.maxlevel = 4
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = LONGEST
_shorten.maxdict = _shorten.maxlist = _shorten.maxtuple = _shorten.maxset = 8


def shown(value: Any) -> str:
    """The `repr` of a value as one line of at most 200 characters.

    Of long lists the first entries are shown; the ends of long texts.
    """
    try:
        text = " ".join(_shorten.repr(value).split())
    # a `repr` is a program, and Python refuses to write whole numbers of thousands of digits
    except Exception:
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
