"""Molmo 2: pooled patches are added to the placeholders, and some layers scale their rotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from transprune.families.base import register_family
from transprune.families.layers import LayerKind, split_heads
from transprune.families.placeholders import Placeholders
from transprune.families.rotation import Rotary


@register_family("molmo2")
class Molmo2(Placeholders):
    """Molmo 2 (4B, 8B, O-7B). All pictures or all frames of a prompt attend to each other.

    In O-7B norms stand behind attention and MLP; methods that read attention refuse it.
    """

    title: ClassVar[str] = "Molmo 2"
    described_by: ClassVar[tuple[str, ...]] = (
        *Placeholders.described_by,
        "image_grids",
        "video_grids",
    )

    def visual_masks(self, base: Any, input_ids: Tensor) -> dict[str, Tensor]:
        """Pictures and videos have the same placeholder, and never meet in one call."""
        return {"image": self.visual_mask(base, input_ids)}

    def of_medium(self, medium: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments: what there is fills the placeholders."""
        return dict(kwargs)

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """The view of the whole and the grid of the crops, or the frames of a video."""
        grids = kwargs.get("image_grids")
        if grids is not None:
            return [int(g[0] * g[1] + g[2] * g[3]) for g in grids]
        return [int(grid.prod()) for grid in kwargs["video_grids"]]

    def layer_kinds(self, base: Any) -> list[LayerKind]:
        """Rotary tables by layer; no norm is known in front of attention where it is behind."""
        decoder = self.decoder(base)
        tables = {"scaled": decoder.rotary_emb, "unscaled": decoder.rotary_emb_unscaled}

        kinds = []
        rows = zip(super().layer_kinds(base), self.layers(base), decoder.rope_types, strict=False)
        for kind, layer, table in rows:
            norm: nn.Module | None = None if layer.norm_after else kind.norm
            rotary = Rotary.of(tables[table], None)
            kinds.append(replace(kind, norm=norm, type=table, rotary=rotary))

        return kinds

    def query_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """[B, L, W] -> [B, H, L, d], normalised over all heads or head by head."""
        if attention.qk_norm_type == "olmo":
            return split_heads(attention, attention.q_norm(projected))
        return super().query_heads(attention, projected)

    def key_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """[B, L, W] -> [B, Hkv, L, d], likewise."""
        if attention.qk_norm_type == "olmo":
            return split_heads(attention, attention.k_norm(projected))
        return super().key_heads(attention, projected)

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape."""
        return False
