"""Count on a CPU where code would wait for the device on a GPU.

On a GPU the host runs ahead of the device. It stops where it needs a number from there (`item`, `nonzero`, a boolean
index, a copy to the host), and where a copy to the device is not marked as non-blocking. On a CPU both are one memory,
so this follows which tensors would be on the host: those made without a `device`, and what is computed of them alone.

The model's own waits do not count: of all callers in transprune and in transformers, the innermost one is charged.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

import transprune

OURS = f"{Path(transprune.__file__).parent}/"
THEIRS = "/transformers/"
DOOR_OUT = "runtime/host.py"  # `to_host` copies all tensors it is given at once

# by the name of the function: the size of the result, or a check, depends on numbers of the device. `isin` and
# `bincount` look harmless, but their CUDA kernels read a size or a minimum
WAITING = {
    *("nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "isin", "bincount", "equal"),
    *("allclose", "multinomial", "matrix_rank", "svd", "svdvals", "eigh", "inv", "cholesky", "is_nonzero"),
    *("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__"),
    *("unique_dim", "histogram"),
}  # fmt: skip
# the same without a Python name of their own: an index that is a 0-d tensor, bounds of a slice
WAITING_OPS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}
# checks its arguments on a CPU only
ONLY_ON_CPU = {"quantile", "nanquantile"}
COPIES_VALUES = {"tensor", "as_tensor", "new_tensor"}
FACTORIES = {
    *("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn"),
    *("randperm", "tensor", "as_tensor", "zeros", "scalar_tensor", "cartesian_prod"),
}  # fmt: skip


class Waits:
    """The waits so far, by place in the source.

    Attributes:
        sites: `file:line function` -> how often.
    """

    def __init__(self) -> None:
        self.sites: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.sites.total()

    def __str__(self) -> str:
        lines = [f"  {count:4d}  {site}" for site, count in self.sites.most_common()]
        return "\n".join([f"{self.total} waits", *lines])


@contextmanager
def counted_waits():
    """Count the waits of transprune in the block."""
    waits = Waits()
    functions = _Functions(waits)
    from_numpy = torch.from_numpy  # the only factory that modes do not see

    def on_host(array: Any) -> Tensor:
        functions.host[tensor := from_numpy(array)] = True
        return tensor

    with patch.object(torch, "from_numpy", on_host), functions, _Operators(functions):
        yield waits


def caller() -> FrameType | None:
    """The innermost caller in transprune; None if one in transformers is nearer."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if OURS in name:
            return frame
        if THEIRS in name:
            return None
        frame = frame.f_back
    return None


def place_of(frame: FrameType) -> str:
    """`file:line` in transprune."""
    return f"{frame.f_code.co_filename.split(OURS)[-1]}:{frame.f_lineno}"


class _Functions(TorchFunctionMode):
    """Sees every call from Python, and notes which tensors are on the host."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits
        self.host = WeakIdKeyDictionary()
        self._door: FrameType | None = None
        self.busy = False  # in a call that is counted, or known not to wait

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").removeprefix("linalg_")
        tensors = _tensors(args, kwargs)
        there = [tensor for tensor in tensors if tensor not in self.host]

        reason = self._reason(name, args, kwargs, tensors, there)
        if reason:
            self.note(reason)
        before, self.busy = self.busy, self.busy or bool(reason) or name in ONLY_ON_CPU
        try:
            result = func(*args, **kwargs)
        finally:
            self.busy = before
        return self._follow(name, args, kwargs, tensors, there, result)

    def note(self, what: str) -> None:
        """Charge the caller, if it is ours."""
        frame = caller()
        if frame is None:
            return
        if place_of(frame).startswith(DOOR_OUT):
            # all tensors of one call are copied together
            while frame.f_code.co_name != "to_host":
                frame = frame.f_back
            if frame is self._door:
                return
            self._door, what = frame, "to_host"
            frame = frame.f_back
        self.waits.sites[f"{place_of(frame)} {frame.f_code.co_name}: {what}"] += 1

    def _reason(
        self, name: str, args: Any, kwargs: Any, tensors: list[Tensor], there: list[Tensor]
    ) -> str:
        """Why this call waits; empty if it does not."""
        if name in WAITING and there:
            return name
        if name == "repeat_interleave" and there and len(tensors) > 1:
            return name if kwargs.get("output_size") is None else ""
        if name in ("__getitem__", "__setitem__") and args[0] not in self.host:
            return self._bad_index(args[1])
        if name in COPIES_VALUES and _device(args, kwargs) is not None and not there:
            return name
        if name == "to" and args[0] in self.host and _device(args, kwargs) is not None:
            return "" if kwargs.get("non_blocking") else "to"
        return ""

    def _bad_index(self, index: Any) -> str:
        """A boolean index, or one from the host that has to be copied first."""
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, list):
                return "index by a list"
            if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
                return "boolean index"
            if isinstance(part, Tensor) and part in self.host:
                return "index from the host"
        return ""

    def _follow(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        tensors: list[Tensor],
        there: list[Tensor],
        result: Any,
    ) -> Any:
        """Note whether the result is on the host."""
        if name == "cpu":
            moved = True
        elif name == "to" and _device(args, kwargs) is not None:
            moved = False
        elif tensors:
            moved = not there
        else:
            # "cpu" in so many words is the host; the device of the model comes as a `torch.device`
            moved = name in FACTORIES and _device(args, kwargs) in (None, "cpu")

        if isinstance(result, Tensor) and (result in self.host) != moved:
            if any(result is tensor for tensor in tensors):
                with torch._C.DisableTorchFunction():
                    result = result.view_as(
                        result
                    )  # a tensor that is where it should be returns itself
            if moved:
                self.host[result] = True
        elif moved and isinstance(result, (tuple, list)):
            for part in result:
                if isinstance(part, Tensor):
                    self.host[part] = True
        return result


class _Operators(TorchDispatchMode):
    """Sees what C++ asks the device for by itself."""

    def __init__(self, functions: _Functions) -> None:
        super().__init__()
        self._functions = functions

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        functions = self._functions
        if func in WAITING_OPS and not functions.busy and args[0] not in functions.host:
            functions.note(str(func))
        return func(*args, **(kwargs or {}))


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    """Tensors among the arguments, lists of tensors included."""
    found = []
    for value in (*args, *kwargs.values()):
        parts = value if isinstance(value, (tuple, list)) else (value,)
        found += [part for part in parts if isinstance(part, Tensor)]
    return found


def _device(args: Any, kwargs: Any) -> Any:
    """The device among the arguments (that of a tensor whose kind is taken over), or None."""
    if kwargs.get("device") is not None:
        return kwargs["device"]
    for value in args[1:2]:
        if isinstance(value, Tensor):
            return value.device
        if isinstance(value, (torch.device, str)):
            return value
    return None
