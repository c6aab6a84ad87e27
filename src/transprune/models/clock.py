"""Read the time on a device that works in the background."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor


def clock(device: torch.device | str) -> float:
    """Seconds of a clock without a defined origin, read when all queued work of `device` is done."""
    place = torch.device(device)

    # a CUDA kernel is only queued when its call returns
    if place.type == "cuda":
        torch.cuda.synchronize(place)

    return time.perf_counter()


class FirstToken:
    """A stopping criterion of `generate` that never stops, and reads the clock at the first token.

    Attributes:
        at: the clock then; None before.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.at: float | None = None

    def __call__(self, ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Note the time once. -> bool [B], all False."""
        if self.at is None:
            self.at = clock(self.device)
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
