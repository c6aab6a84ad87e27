"""What is changed on a model while it is tried, and undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients within; every module's mode and the random state after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def listening_to(attention: Any) -> Iterator[list[Tensor]]:
    """The maps that an attention module returns beside its output, as it is called."""
    maps: list[Tensor] = []
    plain = attention.forward
    own = "forward" in vars(attention)  # where something replaced it before

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = plain(*args, **kwargs)
        if isinstance(output, tuple) and isinstance(output[1], Tensor):
            maps.append(output[1])
        return output

    attention.forward = forward
    try:
        yield maps
    finally:
        if own:
            attention.forward = plain
        else:
            del attention.forward
