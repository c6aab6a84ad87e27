"""Read the time on a device that works in the background."""

from __future__ import annotations

import time

import torch


def clock(device: torch.device | str) -> float:
    """Seconds of a clock without a defined origin, read when all queued work of `device` is done."""
    place = torch.device(device)

    # a CUDA kernel is only queued when its call returns
    if place.type == "cuda":
        torch.cuda.synchronize(place)

    return time.perf_counter()
