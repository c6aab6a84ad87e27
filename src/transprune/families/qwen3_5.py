"""Qwen3.5 and 3.6, dense and mixture of experts: three of four layers carry a recurrent state.

Only every fourth layer attends, so only it has keys to drop and attention rows to read. A token that
is dropped stays in the state of the recurrent layers that it has passed.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from transprune.families.base import register_family
from transprune.families.packed import Packed


@register_family("qwen3_5")
class Qwen3_5(Packed):
    """Qwen3.5 and 3.6, images and videos."""

    title: ClassVar[str] = "Qwen3.5"
    processor: ClassVar[str] = "Qwen3VLProcessor"

    def query_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """Normalised queries, not yet rotated. [B, L, 2 * H * d] -> [B, H, L, d].

        The projection of each head is its query, then the gate of its output.
        """
        both = projected.unflatten(-1, (-1, 2 * attention.head_dim))  # [B, L, H, 2 d]
        queries: Tensor = attention.q_norm(both[..., : attention.head_dim])
        return queries.transpose(1, 2)


@register_family("qwen3_5_moe")
class Qwen3_5_MoE(Qwen3_5):
    """The same with experts in place of each MLP."""

    title: ClassVar[str] = "Qwen3.5-MoE"
