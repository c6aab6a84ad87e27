"""What kind of error ended a batch, and so what is done about it."""

from __future__ import annotations

from typing import Literal

from transprune.core.shown import shorten
from transprune.errors import PruneError
from transprune.models.source import first_line

Kind = Literal["memory", "device", "rows"]

LONGEST = 500  # characters of an error in its column
_DEVICE = ("CUDA error", "device-side assert", "HIP error", "cuDNN error")


def kind_of(error: BaseException) -> Kind:
    """`memory`: a smaller batch may fit. `device`: nothing will run any more. `rows`: one of them.

    A device that failed fails for every later row, which would write thousands of errors.
    """
    from transprune.models.memory import is_out_of_memory

    if is_out_of_memory(error):
        return "memory"
    # behind it, because CUDA names a lack of memory like any other error
    if isinstance(error, RuntimeError) and any(part in str(error) for part in _DEVICE):
        return "device"
    return "rows"


def sentence(error: BaseException) -> str:
    """An error as the text of its column."""
    text = str(error) if isinstance(error, PruneError) else _named(error)
    return shorten(text, LONGEST)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
