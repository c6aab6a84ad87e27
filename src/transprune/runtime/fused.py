"""Functions compiled on request: one kernel for what are several operations.

Compiling takes seconds at the first call, so nothing is compiled unless `prune(..., compile=True)`
asks for it. Where compiling fails the plain function goes on, with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from transprune.core.shown import shown
from transprune.errors import PruneWarning


class Fused:
    """A function compiled at its first call.

    Args:
        function: works on tensors and returns tensors; any batch and length.
        backend: of `torch.compile`.
    """

    def __init__(self, function: Callable[..., Any], backend: str) -> None:
        self._plain = function
        self._compiled: Callable[..., Any] | None = torch.compile(
            function, backend=backend, dynamic=True
        )

    def __call__(self, *args: Any) -> Any:
        """The result of the function."""
        if self._compiled is None:
            return self._plain(*args)
        try:
            # a session sets compiled code aside, but not its own (`runtime.compiled`)
            with torch.compiler.set_stance("default"):
                return self._compiled(*args)
        # raised while compiling; what goes wrong in the compiled code itself is not hidden
        except torch._dynamo.exc.TorchDynamoException as error:
            self._compiled = None
            warnings.warn(
                f"{self._plain.__name__} could not be compiled and runs as it is "
                f"({type(error).__name__}: {shown(str(error))})",
                PruneWarning,
                stacklevel=2,
            )
            return self._plain(*args)


def fused(function: Callable[..., Any], backend: str | None) -> Callable[..., Any]:
    """The function, compiled if there is a backend of `torch.compile` for it."""
    return function if backend is None else Fused(function, backend)
