"""Copies from the device, all in one: every copy waits until the device has done all its work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def to_host(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The tensors as arrays, in one transfer per device; not of a half precision."""
    devices = {tensor.device for tensor in tensors if tensor.device.type != "cpu"}
    copies = {device: _packed(device, tensors) for device in devices}

    arrays = []
    for tensor in tensors:
        if tensor.device.type == "cpu":
            arrays.append(tensor.detach().numpy())
            continue
        size = tensor.numel() * tensor.element_size()
        own, copies[tensor.device] = copies[tensor.device].split(
            [size, len(copies[tensor.device]) - size]
        )
        arrays.append(own.view(tensor.dtype).view(tensor.shape).numpy())
    return arrays


def _packed(device: torch.device, tensors: Sequence[Tensor]) -> Tensor:
    """The bytes of all tensors of one device, on the host. uint8 [bytes]."""
    parts = []
    for tensor in tensors:
        if tensor.device == device:
            parts.append(tensor.detach().contiguous().flatten().view(torch.uint8))
    return torch.cat(parts).cpu()
