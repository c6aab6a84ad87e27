"""The model inside what others wrap around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from transprune.errors import FamilyError


def unwrap(model: Any) -> Any:
    """The transformers model inside wrappers: PEFT, torch.compile, DataParallel and the like.

    Raises:
        FamilyError: the wrapper keeps the weights in pieces, so modules cannot be called one by
            one.
    """
    while True:
        if type(model).__name__ == "FullyShardedDataParallel":
            raise FamilyError(
                "FullyShardedDataParallel keeps the weights in pieces, and pruning calls single "
                "modules; load the model with device_map='auto', or run one process per GPU"
            )

        inner = _inside(model)
        if inner is None:
            return model

        model = inner


def _inside(model: Any) -> Any:
    """The model that a wrapper wraps, or None for a model without one."""
    if isinstance(model, torch._dynamo.OptimizedModule):  # torch.compile(model)
        return model._orig_mod
    if hasattr(model, "get_base_model"):  # PEFT
        return model.get_base_model()
    module = getattr(model, "module", None)  # DataParallel, DistributedDataParallel, DeepSpeed
    return module if isinstance(module, nn.Module) else None
