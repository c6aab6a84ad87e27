"""Peak memory of a run: bytes of the tensors alive at once, counted, not read from the process.

On a GPU the allocator has this figure. On a CPU every operation is intercepted: a tensor with
memory of its own counts from the operation that makes it until it is freed. Memory that a kernel
allocates and frees inside one operation is not seen.
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
    """Largest number of bytes of tensors alive at once during `run`, above those before it."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before

    with _TensorMemory() as memory:
        run()
    return memory.peak


class _TensorMemory(TorchDispatchMode):
    """Adds up the memory of tensors as operations make them and the interpreter frees them.

    Attributes:
        held: bytes alive now.
        peak: the largest value of `held`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.peak = 0
        self._known: set[int] = set()  # storages, by address

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count what it makes.

        Its arguments existed before `run`, unless an earlier operation made them; then they are
        known already.
        """
        kwargs = kwargs or {}
        self._register(tree_leaves((args, kwargs)), new=False)

        made = func(*args, **kwargs)
        self._register(tree_leaves(made), new=True)
        return made

    def _register(self, leaves: Iterable[Any], *, new: bool) -> None:
        for tensor in leaves:
            if not isinstance(tensor, Tensor):
                continue

            # views share one storage, which must count once
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known:
                continue

            size = storage.nbytes() if new else 0
            self._known.add(key)
            self.held += size
            weakref.finalize(storage, self._forget, key, size)

        self.peak = max(self.peak, self.held)

    def _forget(self, key: int, size: int) -> None:
        # the address may be used again, by a tensor that has to be counted
        self._known.discard(key)
        self.held -= size
