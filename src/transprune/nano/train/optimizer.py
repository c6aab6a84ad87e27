"""Muon for the matrices of the layers, AdamW for all other parameters.

At this size the pair needs far fewer steps than AdamW alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from transprune.nano.train.muon import Muon

CLIP = 1.0  # gradient norm for AdamW; the size of Muon's updates does not depend on the gradient


class Optimizer:
    """Both optimizers behind one interface.

    Args:
        module: the trained module; parameters that need no gradient are left out.
        muon_lr, adam_lr: peak learning rates.
        matrices: part of a parameter's name that, for a matrix, selects Muon.
    """

    def __init__(
        self, module: nn.Module, muon_lr: float, adam_lr: float, matrices: str = ".layers."
    ) -> None:
        inner: list[nn.Parameter] = []
        outer: list[nn.Parameter] = []
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            if matrices in name and weight.ndim == 2:
                inner.append(weight)
            else:
                outer.append(weight)

        self._outer = outer
        # (optimizer, its peak rate); either may be missing: a projector alone has no layers
        self._parts: list[tuple[torch.optim.Optimizer, float]] = []
        if inner:
            self._parts.append((Muon(inner, lr=muon_lr), muon_lr))
        if outer:
            adamw = torch.optim.AdamW(
                outer, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True
            )
            self._parts.append((adamw, adam_lr))

    def step(self, rate: float) -> None:
        """Take one step at `rate` times the peak learning rates, and clear the gradients."""
        nn.utils.clip_grad_norm_(self._outer, CLIP)

        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of both."""
        return [part.state_dict() for part, _ in self._parts]

    def load_state_dict(self, state: Iterable[dict[str, Any]]) -> None:
        """Restore a saved state."""
        for (part, _), saved in zip(self._parts, state, strict=True):
            part.load_state_dict(saved)
