"""Running compiled modules without their compiled code while a session is attached.

`torch.compile` traces a module together with the hooks it has at that moment, and does not look for
hooks that come later. So a model that was compiled before `prune` would run without ours, and one
compiled inside a session would keep them afterwards. While any session is attached, compiled code
is set aside in the whole process: `torch.compiler.set_stance("force_eager")`. It is not thrown
away, and runs again, without compiling anew, once the last session has been left.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from transprune.errors import PruneWarning

NOTE = "compiled code was set aside while pruning: the layers change their shapes in every stage"

_lock = threading.Lock()
_sessions = 0
_stance = ExitStack()


@contextmanager
def compiled_code_set_aside() -> Iterator[None]:
    """Run everything eagerly, in all threads, until the last of several such contexts is left."""
    global _sessions
    with _lock:
        if _sessions == 0:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _sessions += 1

    try:
        yield
    finally:
        with _lock:
            _sessions -= 1
            if _sessions == 0:
                _stance.close()


def warn_if_compiled(model: nn.Module) -> bool:
    """Whether the model, or a module of it, was compiled by `torch.compile`; warns if so."""
    compiled = any(map(_is_compiled, model.modules()))
    if compiled:
        warnings.warn(
            "this model was compiled; while it is pruned it runs without its compiled code "
            "(pruned right, but at eager speed), and with it again afterwards",
            PruneWarning,
            stacklevel=5,
        )

    return compiled


def _is_compiled(module: Any) -> bool:
    # model.compile(); model.forward = torch.compile(model.forward); model = torch.compile(model)
    forward = vars(module).get("forward")
    return (
        getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(forward, "_torchdynamo_orig_callable")
        or isinstance(module, torch._dynamo.OptimizedModule)
    )
