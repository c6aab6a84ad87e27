"""A LayerView made of given tensors, for the maths of the methods within the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from transprune.core.views import LayerView


@dataclass
class Given:
    """What a view shows; only what a test needs has to be there."""

    hidden: Tensor
    image: Tensor = field(default_factory=lambda: torch.empty(0))  # [H, T, N]
    words: Tensor = field(default_factory=lambda: torch.empty(0))  # [H, T, T]
    plain_keys: Tensor = field(default_factory=lambda: torch.empty(0))  # [Hkv, N, d]
    rotated_keys: Tensor = field(default_factory=lambda: torch.empty(0))
    context: Tensor | None = None  # [Hkv, M, d]; None where nothing is in front of the image
    query: Tensor = field(default_factory=lambda: torch.empty(0))  # [H, d]
    decay: Tensor = field(default_factory=lambda: torch.empty(0))  # [T, N]
    embedded: tuple[Tensor, Tensor] = field(
        default_factory=lambda: (torch.empty(0), torch.empty(0))
    )

    def view(self, count: int, merged: int = 0, boundary: int = 3) -> LayerView:
        tokens = torch.arange(len(self.hidden))
        signals = {"attention": lambda: self, "embeddings": lambda: self.embedded}
        return LayerView(
            boundary, count, tokens, lambda: self.hidden, merged=merged, signals=signals
        )

    def to_visual(self, queries: str) -> Tensor:
        assert queries == "instruction"
        return self.image

    def within_instruction(self) -> Tensor:
        return self.words

    def keys(self, rotated: bool) -> Tensor:
        return self.rotated_keys if rotated else self.plain_keys

    def context_keys(self) -> Tensor:
        return self.plain_keys[:, :0] if self.context is None else self.context

    def mean_query(self) -> Tensor:
        return self.query

    def rotary_decay(self, queries: str) -> Tensor:
        assert queries == "instruction"
        return self.decay


@dataclass
class Attention:
    """The attention signal of a view from one function: queries to [H, T, N]."""

    to_visual: Callable[[object], Tensor]


def reads_attention(read: Callable[[object], Tensor]) -> dict[str, Callable[[], Attention]]:
    """The signals of a view that offers nothing but attention."""
    return {"attention": lambda: Attention(read)}
