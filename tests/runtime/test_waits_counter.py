"""The counter of waits sees what waits on a GPU, and nothing else. It is tried on files that look like ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from runtime.waits import OURS, counted_waits

GIVEN = {
    "x": torch.rand(6, 4),
    "flags": torch.tensor([True, False, True, False, True, False]),
    "index": torch.tensor([3, 1]),
    "zero": torch.tensor(2),
    "counts": torch.tensor([1, 2, 3, 0, 1, 2]),
    "np": np,
    "torch": torch,
    "device": torch.device("cpu"),
}

WAITS = [
    "flags.any().item()",
    "bool(flags.any())",
    "int(x.argmax())",
    "1 if flags[0] else 2",
    "x.sum(dim=1).tolist()",
    "x.numpy()",
    "x.cpu()",
    "flags.nonzero()",
    "x[flags]",
    "x[:, flags[:4]]",
    "x.masked_select(flags[:, None])",
    "x[zero]",  # a 0-d tensor is read as a number
    "x[: zero]",
    "x[[1, 2]]",
    "x[torch.arange(2)]",  # an index of the host has to be copied first
    "torch.isin(counts, index)",
    "torch.bincount(counts)",
    "torch.equal(x, x)",
    "counts.unique()",
    "x.repeat_interleave(counts, dim=0)",
    "torch.tensor([1, 2], device=device)",
    "torch.as_tensor([1, 2], device=device)",
    "torch.rand(4).to(device)",
    "torch.from_numpy(np.ones(3)).to(device)",
    "torch.linalg.matrix_rank(x)",
]

DOES_NOT = [
    "x[index]",
    "x[None, 1:3, ..., 0]",
    "x.masked_fill(flags[:, None], 0.0)",
    "torch.where(flags[:, None], x, 0.0)",
    "x.argsort(dim=0, stable=True)[:2]",
    "x.topk(2)",
    "torch.arange(4, device=device)",
    "torch.zeros(4, device=device).index_add_(0, index, torch.ones_like(index).float())",
    "x.to(torch.bfloat16)",
    "x.to(device)",  # it is there already
    "torch.from_numpy(np.ones(3)).to(device, non_blocking=True)",
    "torch.arange(4).tolist()",  # on the host all along
    "int(torch.tensor([1, 2]).max())",
    "x.repeat_interleave(counts, dim=0, output_size=9)",
    "x.shape[0] + len(flags)",
    "x.split([2, 4])",
    "torch.quantile(x, 0.5)",
]


def count(source: str, path: str) -> int:
    code = compile(source, path, "eval")
    with counted_waits() as waits:
        eval(code, dict(GIVEN))
    return waits.total


@pytest.mark.parametrize("source", WAITS)
def test_a_wait_is_counted(source):
    assert count(source, f"{OURS}methods/some.py") >= 1


@pytest.mark.parametrize("source", DOES_NOT)
def test_what_does_not_wait_is_not_counted(source):
    assert count(source, f"{OURS}methods/some.py") == 0


@pytest.mark.parametrize("source", WAITS)
def test_waits_of_others_do_not_count(source):
    assert count(source, "/any/transformers/models/some.py") == 0


def test_one_copy_of_many_tensors_counts_once():
    from transprune.runtime.host import to_host

    tensors = [torch.rand(3), torch.rand(4)]
    with counted_waits() as waits:
        to_host(tensors)
        to_host(tensors)
        to_host([])
    assert waits.total == 2
