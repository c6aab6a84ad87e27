"""Gemma 3: a SigLIP tower, averaged down to 256 tokens; image blocks attend to themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from transprune.families.base import register_family
from transprune.families.merged import Merged


@register_family("gemma3")
class Gemma3(Merged):
    """Gemma 3 with pictures (4B, 12B, 27B). The crops of "pan and scan" are images of their own."""

    title: ClassVar[str] = "Gemma 3"
    tiles: ClassVar[bool] = False
    described_by: ClassVar[tuple[str, ...]] = (*Merged.described_by, "token_type_ids")

    def merge(self, config: Any) -> int:
        """Four: 64 x 64 patches become 16 x 16 tokens."""
        patches = config.vision_config.image_size // config.vision_config.patch_size
        return int(patches // config.mm_tokens_per_image**0.5)

    def masks_of_embeddings(self, kwargs: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The processor calls its token types differently."""
        return super().masks_of_embeddings(
            {**kwargs, "mm_token_type_ids": kwargs.get("token_type_ids")}
        )
