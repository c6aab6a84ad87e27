"""Copies from the device in one transfer."""

import numpy as np
import torch

from transprune.runtime.host import pack, to_host, unpack

TENSORS = [
    torch.arange(6).view(2, 3),
    torch.tensor([[True, False, True]]),
    torch.linspace(0, 1, 5, dtype=torch.float32),
    torch.tensor(7, dtype=torch.int32),
    torch.arange(12).view(3, 4).T,
    torch.empty(0, 2, dtype=torch.long),
]


def test_packed_tensors_come_back():
    found = unpack(pack(TENSORS), TENSORS)
    for tensor, copy in zip(TENSORS, found, strict=True):
        assert copy.dtype == tensor.dtype
        assert torch.equal(copy, tensor)


def test_arrays_in_the_order_of_the_tensors():
    weight = torch.ones(3, requires_grad=True)
    for tensor, array in zip([*TENSORS, weight], to_host([*TENSORS, weight]), strict=True):
        np.testing.assert_array_equal(array, tensor.detach().numpy())


def test_nothing_to_copy():
    assert to_host([]) == []
