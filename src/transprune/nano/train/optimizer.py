"""Muon for the matrices of the layers, AdamW for everything else: far fewer steps than AdamW alone at this size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from transprune.nano.train.muon import Muon

CLIP = 1.0  # norm of AdamW's gradients; Muon's updates have a fixed size anyway


class Optimizer:
    """The two as one.

    Args:
        module: what is trained; parameters that need no gradient are left out.
        matrices: names under which Muon finds its matrices (`"layers"`), as parts of parameter names.
        muon, adam: peak learning rates.
    """

    def __init__(
        self, module: nn.Module, muon: float, adam: float, matrices: str = ".layers."
    ) -> None:
        named = [
            (name, weight) for name, weight in module.named_parameters() if weight.requires_grad
        ]
        inner = [weight for name, weight in named if matrices in name and weight.ndim == 2]
        outer = _rest([weight for _, weight in named], inner)
        self._outer = outer
        # (optimizer, peak) of what there is to train; the projector alone has no layers
        self._parts: list[tuple[torch.optim.Optimizer, float]] = []
        if inner:
            self._parts.append((Muon(inner, lr=muon), muon))
        if outer:
            adamw = torch.optim.AdamW(
                outer, lr=adam, betas=(0.9, 0.98), weight_decay=0.0, fused=True
            )
            self._parts.append((adamw, adam))

    def step(self, rate: float) -> None:
        """One step at `rate` times the peak learning rates; gradients are gone afterwards."""
        nn.utils.clip_grad_norm_(self._outer, CLIP)
        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """State of both."""
        return [part.state_dict() for part, _ in self._parts]

    def load_state_dict(self, state: Iterable[dict[str, Any]]) -> None:
        """Take up a saved state."""
        for (part, _), saved in zip(self._parts, state, strict=True):
            part.load_state_dict(saved)


def _rest(weights: list[nn.Parameter], taken: list[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(weight) for weight in taken}
    return [weight for weight in weights if id(weight) not in known]
