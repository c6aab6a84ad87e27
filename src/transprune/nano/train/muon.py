"""Muon for many small matrices at once.

torch's own Muon orthogonalises one matrix at a time. For a model of a hundred matrices of
128 x 128, the overhead of these tiny products takes a sixth of each step. Here matrices of one
shape are stacked, and the overhead nearly vanishes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of x -> a x + b x^3 + c x^5 on singular values. The polynomial is steep at zero:
# five steps bring them into about 0.7 .. 1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised update: all directions of a matrix move equally fast.

    Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/. An update of an m x n matrix is
    scaled by sqrt(max(1, m / n)); weight decay is decoupled.

    Args:
        weights: matrices [m, n]; each must get a gradient in every step.
        lr: learning rate.
        momentum: of the gradient, in Nesterov's form.
        weight_decay: each step multiplies the weights by 1 - lr * weight_decay.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step with the gradients of the weights; `closure` is not used."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                by_shape[weight.shape].append(weight)

            for weights in by_shape.values():
                self._step_same_shape(weights, group)

    def _step_same_shape(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape [m, n] together."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        buffers = []
        for weight in weights:
            state = self.state[weight]
            buffers.append(state.setdefault("momentum", torch.zeros_like(weight)))

        # Nesterov: the direction is the gradient moved towards the updated momentum
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        directions = torch._foreach_lerp(gradients, buffers, group["momentum"])

        rows, columns = weights[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        update = orthogonalise(torch.stack(list(directions))) * scale  # [n_weights, m, n]

        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(update.unbind()), alpha=-group["lr"])


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values near 1, by Newton-Schulz steps in bf16. [..., m, n] -> the same."""
    a, b, c = _QUINTIC

    # the Gram matrix is smaller on the short side
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()

    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x

    return (x.mT if tall else x).to(matrices.dtype)
