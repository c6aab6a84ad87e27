"""Command A Vision: a SigLIP tower, 2 x 2 patches in a token, some layers without rotation."""

from __future__ import annotations

from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.cohere2 import Cohere2
from transprune.families.merged import Merged


@register_family("cohere2_vision")
class Cohere2Vision(Cohere2, Merged):
    """Command A Vision. The tiles of a picture are images of their own."""

    title: ClassVar[str] = "Command A Vision"

    def merge(self, config: Any) -> int:
        """Two."""
        return int(config.downsample_factor)
