"""ViP-LLaVA: LLaVA whose features are the joined states of several layers of the tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from transprune.families.base import register_family
from transprune.families.llava import Llava


@register_family("vipllava")
class VipLlava(Llava):
    """ViP-LLaVA: five layers of a CLIP tower, always without their CLS token."""

    title: ClassVar[str] = "ViP-LLaVA"
    plain_prompt: ClassVar[str] = (
        "A chat between a curious human and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the human's questions.###Human: "
        "{images}{question}###Assistant:"
    )

    def feature_layer(self, base: Any) -> int | Sequence[int]:
        """The configuration's list; releases before 5.23 spell it in the plural."""
        config = base.config
        plural = getattr(config, "vision_feature_layers", None)
        chosen: int | Sequence[int] = config.vision_feature_layer if plural is None else plural
        return chosen
