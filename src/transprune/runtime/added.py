"""Features that a decoder adds to visual rows between its layers (DeepStack), for the rows that stay.

The decoder adds them by a mask over the whole prompt, which no longer fits once tokens are dropped.
So they are taken out of its arguments, and added here to the visual rows that are left: the same
sum, in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.families.base import Family
from transprune.families.layers import AddedFeatures
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks

ADDED = "added"  # of this pass: features, and the row of them for each slot


@dataclass(frozen=True)
class _Taken:
    """Features of one pass, and for each slot [B, S] the number of its row among them."""

    features: AddedFeatures
    number: Tensor


class AddedRows:
    """Adds features behind the layers where the decoder would.

    Args:
        family: says what the decoder adds.
        layers: the decoder layers.
    """

    def __init__(self, family: Family, layers: list[Any]) -> None:
        self._family = family
        self._layers = layers
        self._needed = type(family).added_features is not Family.added_features

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks behind all layers, of families that add anything."""
        if not self._needed:
            return
        for index, layer in enumerate(self._layers):
            hooks.layers.after(layer, partial(self._add, hooks, index))

    def take(self, state: Pass, kwargs: dict[str, Any], boundary: int) -> dict[str, Any] | None:
        """The decoder's arguments without the features; None where they may stay in place.

        Args:
            state: the pass, to which they belong from here on.
            kwargs: the decoder's arguments.
            boundary: the first layer in front of which tokens go.
        """
        if not self._needed:
            return None

        own = dict(kwargs)
        features = self._family.added_features(own)
        # the decoder's own addition fits as long as every row is there
        if features is None or boundary > max(features.by_layer, default=-1):
            return None

        number = features.mask.flatten().cumsum(0).sub(1).clamp(min=0).view_as(features.mask)
        state.captured[ADDED] = _Taken(features, number)
        return own

    def _add(self, hooks: Hooks, index: int, layer: nn.Module, args: Any, output: Any) -> Any:
        state = hooks.running()
        taken = None if state is None else state.captured.get(ADDED)
        if state is None or taken is None or index not in taken.features.by_layer:
            return None

        hidden = output[0] if isinstance(output, tuple) else output
        features = taken.features.by_layer[index].to(hidden.device, hidden.dtype)
        number, visual = taken.number, taken.features.mask
        if state.pruned:
            assert state.layout is not None
            number = number.gather(1, state.layout.tokens)
            visual = visual.gather(1, state.layout.tokens) & state.layout.valid

        full = torch.where(visual[..., None], hidden + features[number], hidden)
        return (full, *output[1:]) if isinstance(output, tuple) else full
