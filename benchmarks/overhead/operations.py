"""Count the operations a run dispatches, the CPU's stand-in for kernels launched on a GPU.

Left out are operations that launch nothing there: views (their result shares the memory of an
argument and writes nothing, as the schema of the operation says; `detach` and `alias` are such),
allocations without a value (`empty`), and operations whose results have no elements (the empty
tensors a new cache starts with). One operation may be several kernels, or part of one after fusion,
so the count is an approximation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
UNMARKED_VIEWS = ("_unsafe_view",)  # views whose schema does not say so


def count_operations(run: Callable[[], Any]) -> Counter[str]:
    """Number of operations by name, of one run after an uncounted one."""
    run()
    with _Operations() as operations:
        run()
    return operations.counts


def most_added(counts: Counter[str], base: Counter[str], number: int = 5) -> str:
    """The operations of which `counts` has most more than `base`, as text."""
    added = Counter(counts)
    added.subtract(base)
    named = [f"{name} +{more}" for name, more in added.most_common(number) if more > 0]
    return ", ".join(named)


class _Operations(TorchDispatchMode):
    """Counts the operations that work on elements."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")

        if name not in (*ALLOCATIONS, *UNMARKED_VIEWS) and not _is_view(func) and _has_work(made):
            self.counts[name] += 1
        return made


def _is_view(func: Any) -> bool:
    """Whether a result shares the memory of an argument without writing to it."""
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _has_work(made: Any) -> bool:
    """Whether a result has elements; numbers, which are read from a tensor, count as one."""
    tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
    return not tensors or any(tensor.numel() for tensor in tensors)
