"""Granite Docling: SigLIP-like tiles, and features that join behind the first layers (DeepStack)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.layers import AddedFeatures
from transprune.families.placeholders import Placeholders


@register_family("granite_docling")
class GraniteDocling(Placeholders):
    """Granite Docling. All tiles of a prompt are one image, as the model encodes them."""

    title: ClassVar[str] = "Granite Docling"
    described_by: ClassVar[tuple[str, ...]] = (
        *Placeholders.described_by,
        "pixel_attention_mask",
    )

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Real tiles of each sample; on the fine route a tile has four times as many tokens."""
        tokens = base.image_seq_len
        if kwargs.get("tile_fine_mask") is not None:
            tokens *= 4
        return [int(tiles.sum()) * tokens for tiles in kwargs["pixel_attention_mask"]]

    def added_features(self, kwargs: dict[str, Any]) -> AddedFeatures | None:
        """The features of DeepStack; the decoder is left without any."""
        features = kwargs.pop("deepstack_visual_embeds", None)
        mask = kwargs.pop("visual_pos_masks", None)
        if features is None or mask is None:
            return None
        return AddedFeatures(dict(enumerate(features)), mask)
