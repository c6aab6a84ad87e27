"""GLM-4.1V, 4.5V and 4.6V: a convolution merges patches, and frames of a video are written as images.

All placeholders have the image's id. Those of a video stand between the tokens that begin and end
it. Transformers merges images or a video into one prompt, and raises a ValueError for both.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from transprune.families.base import register_family
from transprune.families.packed import Packed


@register_family("glm4v")
class GLM4V(Packed):
    """GLM-4.1V, images or a video."""

    title: ClassVar[str] = "GLM-4.1V"
    processor: ClassVar[str] = "Glm4vProcessor"

    def visual_mask(self, base: Any, input_ids: Tensor) -> Tensor:
        """Slots that hold image or video features. long [B, L] -> bool [B, L]."""
        return input_ids == base.config.image_token_id

    def visual_masks(self, base: Any, input_ids: Tensor) -> dict[str, Tensor]:
        """The same for each medium: a video is what has begun and not ended."""
        visual = self.visual_mask(base, input_ids)
        begun = (input_ids == base.config.video_start_token_id).cumsum(dim=1)
        ended = (input_ids == base.config.video_end_token_id).cumsum(dim=1)
        in_video = begun > ended
        return {"image": visual & ~in_video, "video": visual & in_video}


@register_family("glm46v")
class GLM46V(GLM4V):
    """GLM-4.6V-Flash, images or a video."""

    title: ClassVar[str] = "GLM-4.6V"
    processor: ClassVar[str] = "Glm46VProcessor"


@register_family("glm4v_moe")
class GLM4V_MoE(GLM4V):
    """GLM-4.5V and 4.6V with experts in place of each MLP."""

    title: ClassVar[str] = "GLM-4.5V"
