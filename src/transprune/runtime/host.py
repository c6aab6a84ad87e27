"""Copies from the device, all in one: every copy waits until the device has done all its work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_host(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The tensors as arrays, in one transfer per device; not of a half precision."""
    arrays: list[NDArray[Any]] = [np.empty(0)] * len(tensors)
    for device in {tensor.device for tensor in tensors}:
        places = [place for place, tensor in enumerate(tensors) if tensor.device == device]
        own = [tensors[place].detach() for place in places]
        on_cpu = device.type == "cpu"
        copies = own if on_cpu else unpack(pack(own).cpu(), own)
        for place, copy in zip(places, copies, strict=True):
            arrays[place] = copy.numpy()

    return arrays


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """The bytes of all tensors. uint8 [bytes]."""
    return torch.cat([tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors])


def unpack(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors whose bytes were packed, of the shapes and dtypes of `like`."""
    sizes = [tensor.numel() * tensor.element_size() for tensor in like]
    parts = zip(packed.split(sizes), like, strict=True)
    # a copy, because a number must begin at a multiple of its size
    return [part.clone().view(tensor.dtype).view(tensor.shape) for part, tensor in parts]
