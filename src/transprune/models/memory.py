"""Whether memory ran out, which is told in several ways, and giving back what a failed run held."""

from __future__ import annotations

import gc

import torch

# raised as a RuntimeError without a class of its own: by the allocator of the CPU, by CUDA, by cuBLAS
_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def release_memory() -> None:
    """Give unused memory back to the device.

    To be called behind an `except`, where the traceback no longer holds the tensors of the run.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
