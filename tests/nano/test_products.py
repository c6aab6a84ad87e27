"""Products with updated matrices: the values and gradients of the updates added to the matrices."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from transprune.nano.products import Updated, product


@pytest.fixture
def matrices():
    torch.manual_seed(0)
    return [
        Updated(
            torch.randn(out, 6),
            torch.randn(out, 2, requires_grad=True),
            torch.randn(2, 6, requires_grad=True),
        )
        for out in (5, 3, 4)
    ]


def test_plain_matrices_side_by_side() -> None:
    torch.manual_seed(0)
    rows, first, second = torch.randn(2, 7, 6), torch.randn(5, 6), torch.randn(3, 6)
    apart = torch.cat([F.linear(rows, first), F.linear(rows, second)], dim=-1)
    torch.testing.assert_close(product(rows, first, second), apart)
    assert torch.equal(product(rows, first), F.linear(rows, first))


# torch's own compiler does so
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("half", [False, True])
def test_values_and_gradients_are_those_of_the_sum(matrices, half, compiled) -> None:
    rows = torch.randn(2, 7, 6, requires_grad=True)
    wanted = torch.randn(2, 7, 12)
    trained = [rows, *(factor for matrix in matrices for factor in matrix[1:])]

    def slow(rows):
        added = [torch.addmm(base, up, down) for base, up, down in matrices]
        return F.linear(rows, torch.cat(added))

    def fast(rows):
        return product(rows, *matrices)

    found = []
    for function in (slow, torch.compile(fast) if compiled else fast):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            values = function(rows)
        gradients = torch.autograd.grad((values.float() * wanted).sum(), trained)
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        found.append([values.float(), *gradients])

    near = {"atol": 0.4, "rtol": 0.05} if half else {"atol": 1e-5, "rtol": 1e-5}
    for ours, reference in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, reference, **near)
