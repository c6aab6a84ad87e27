"""Products with the matrices of a layer, of which each may have a low-rank update.

Added to its matrix, an update of rank r makes autograd compute the gradient of the whole matrix, a
third of all work of a step, and then reduce it to r columns and rows. Here the gradients of the two
factors are computed alone; what the product gives is the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Updated(NamedTuple):
    """A frozen matrix, [out, in], with the update up @ down, [out, r] and [r, in]."""

    base: Tensor
    up: Tensor
    down: Tensor

    @property
    def shape(self) -> torch.Size:
        """That of the matrix."""
        return self.base.shape


Matrix = Tensor | Updated


def product(rows: Tensor, *matrices: Matrix) -> Tensor:
    """Multiply with several matrices in one go, results side by side. [..., in] -> [..., sum of out].

    Args:
        rows: float [..., in].
        matrices: all plain, or all with an update; bases get no gradient then.
    """
    plain = [matrix for matrix in matrices if isinstance(matrix, Tensor)]
    if plain:
        return F.linear(rows, plain[0] if len(plain) == 1 else torch.cat(plain))

    updated = [matrix for matrix in matrices if isinstance(matrix, Updated)]
    kind = updated[0].base.dtype
    if torch.is_autocast_enabled(rows.device.type):
        kind = torch.get_autocast_dtype(rows.device.type)

    base = torch.cat([matrix.base.detach().to(kind) for matrix in updated])
    factors = [part.to(kind) for matrix in updated for part in (matrix.up, matrix.down)]
    return _UpdatedProduct.apply(rows.to(kind), base, *factors)


class _UpdatedProduct(torch.autograd.Function):
    """As `product`, all in one number type; the factors are up and down of each matrix in turn."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, base: Tensor, *factors: Tensor) -> Tensor:
        """Add the updates, then multiply once."""
        updates = [up @ down for up, down in zip(factors[::2], factors[1::2], strict=True)]
        whole = base + torch.cat(updates)
        ctx.save_for_backward(rows, whole, *factors)
        return F.linear(rows, whole)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of rows and factors; through thin products, never a whole matrix."""
        rows, whole, *factors = ctx.saved_tensors
        flat, every = rows.flatten(0, -2), grad.flatten(0, -2)

        found = []
        parts = every.split([up.shape[0] for up in factors[::2]], dim=-1)
        for up, down, part in zip(factors[::2], factors[1::2], parts, strict=True):
            found += [part.mT @ (flat @ down.mT), (part @ up).mT @ flat]
        return grad @ whole, None, *found
