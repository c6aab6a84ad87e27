"""LFM2-VL: SigLIP 2 patches of pictures of any shape, and a decoder with short convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from transprune.families.base import register_family
from transprune.families.layers import split_heads
from transprune.families.placeholders import Placeholders


@register_family("lfm2_vl")
class Lfm2VL(Placeholders):
    """LFM2-VL: the tiles of a large picture are images of their own."""

    title: ClassVar[str] = "LFM2-VL"
    described_by: ClassVar[tuple[str, ...]] = (*Placeholders.described_by, "spatial_shapes")

    def query_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """[B, L, W] -> [B, H, L, d], with the norm under this class's name for it."""
        return split_heads(attention, projected, "q_layernorm")

    def key_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """[B, L, W] -> [B, Hkv, L, d], likewise."""
        return split_heads(attention, projected, "k_layernorm")

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """As many as the shapes say, which come beside the pixels."""
        factor = base.config.downsample_factor
        return [(int(h) // factor) * (int(w) // factor) for h, w in kwargs["spatial_shapes"]]

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape."""
        return False
