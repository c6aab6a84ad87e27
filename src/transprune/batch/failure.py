"""What kind of error ended a batch, and so what is done about it."""

from __future__ import annotations

from typing import Literal

from transprune.core.shown import shorten
from transprune.errors import PruneError
from transprune.models.source import first_line

Kind = Literal["memory", "device", "rows"]

LONGEST = 500  # characters of an error in its column
# torch raises a RuntimeError on a CPU, and names the kind in its text only
_CPU_MEMORY = ("can't allocate memory", "not enough memory")
_DEVICE = ("CUDA error", "device-side assert", "HIP error", "cuDNN error")


def kind_of(error: BaseException) -> Kind:
    """`memory`: a smaller batch may fit. `device`: nothing will run any more. `rows`: one of them.

    A device that failed fails for every later row, which would write thousands of errors.
    """
    import torch

    text = str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "memory"
    if isinstance(error, RuntimeError):
        if any(part in text for part in _CPU_MEMORY):
            return "memory"
        if any(part in text for part in _DEVICE):
            return "device"
    return "rows"


def sentence(error: BaseException) -> str:
    """An error as the text of its column."""
    text = str(error) if isinstance(error, PruneError) else _named(error)
    return shorten(text, LONGEST)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def free_memory() -> None:
    """Give back what a failed batch held."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
