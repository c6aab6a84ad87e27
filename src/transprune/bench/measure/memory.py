"""Peak memory of a run: bytes of the tensors that live at once, counted rather than guessed from the process size.

On a GPU the allocator is asked. On a CPU every operation is watched: a tensor with memory of its own counts from the
operation that makes it until it is freed. What a kernel uses inside and gives back before it returns is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """Most bytes of tensors alive at once during `run`, above what was there before it."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with _Living() as living:
        run()
    return living.peak


class _Living(TorchDispatchMode):
    """Adds up the memory of tensors as operations make them and the interpreter frees them."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; what it was given was there before, unless an earlier one made it."""
        kwargs = kwargs or {}
        self._meet(tree_leaves((args, kwargs)), new=False)
        made = func(*args, **kwargs)
        self._meet(tree_leaves(made), new=True)
        return made

    def _meet(self, leaves: Iterable[Any], *, new: bool) -> None:
        for tensor in leaves:
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._known:
                size = storage.nbytes() if new else 0
                self._known.add(key)
                self.held += size
                weakref.finalize(storage, self._freed, key, size)
        self.peak = max(self.peak, self.held)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size
