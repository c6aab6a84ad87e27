"""Aya Vision: a SigLIP tower, 2 x 2 patches in a token, some layers without rotation."""

from __future__ import annotations

from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.cohere2 import Cohere2
from transprune.families.merged_layer import MergedLayer


@register_family("aya_vision")
class AyaVision(Cohere2, MergedLayer):
    """Aya Vision. The tiles of a picture are images of their own."""

    title: ClassVar[str] = "Aya Vision"

    def merge(self, config: Any) -> int:
        """Two."""
        return int(config.downsample_factor)
