"""How the attention of a model rotates queries and keys."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from transprune.core.library import private

Rotation = Callable[..., tuple[Tensor, Tensor]]


def rotation_of(attention: Any) -> Rotation:
    """The model's own rotation: (queries, keys, cos, sin) -> both rotated."""
    # models rotate differently (interleaved, partial): the variant of the module's own file
    return _of_module(type(attention).__module__)


@cache
def _of_module(module: str) -> Rotation:
    rotate: Rotation = private(module, "apply_rotary_pos_emb")
    if "cos" not in list(inspect.signature(rotate).parameters)[:2]:
        return rotate

    # Gemma 4 rotates one tensor at a time
    def rotate_both(
        queries: Tensor, keys: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor]:
        one: Callable[..., Any] = rotate
        return one(queries, cos, sin), one(keys, cos, sin)

    return rotate_both


@dataclass(frozen=True)
class Rotary:
    """Makes the tables of cos and sin that a layer rotates with.

    Attributes:
        module: the decoder's rotary module.
        layer_type: kind of the layer, for modules that have a base for each kind (Gemma 3 and 4);
            else None.
    """

    module: nn.Module
    layer_type: str | None = None

    @classmethod
    def of(cls, module: nn.Module | None, layer_type: str | None) -> Rotary | None:
        """Of a decoder's rotary module, or None where it has none."""
        if module is None:
            return None
        kind: Any = type(module)
        return cls(module, layer_type if _takes_type(kind) else None)

    def tables(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [B, L, d] at `positions`, long [B, L]; `hidden` gives device and dtype."""
        # the module's forward, not the module: hooks on it belong to others
        forward: Any = self.module.forward
        cos, sin = (
            forward(hidden, positions)
            if self.layer_type is None
            else forward(hidden, positions, self.layer_type)
        )
        return cos, sin

    @property
    def scaling(self) -> float:
        """What the tables are multiplied with for long contexts; 1 where they are not."""
        name = "attention_scaling"
        if self.layer_type is not None:
            name = f"{self.layer_type}_{name}"
        return float(getattr(self.module, name, 1.0))

    @property
    def longest(self) -> int:
        """The longest sequence the module has met, which may choose its frequencies."""
        return int(getattr(self.module, "max_seq_len_cached", 0))


@cache
def _takes_type(rotary: Any) -> bool:
    """Whether a rotary module wants to know the kind of layer."""
    return "layer_type" in inspect.signature(rotary.forward).parameters
