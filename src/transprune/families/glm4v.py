"""GLM-4.1V, 4.5V and 4.6V: a convolution merges patches, and frames of a video are images in a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from transprune.errors import LayoutError
from transprune.families.base import register_family
from transprune.families.packed import Packed


@register_family("glm4v")
class GLM4V(Packed):
    """GLM-4.1V, images or a video."""

    title: ClassVar[str] = "GLM-4.1V"
    processor: ClassVar[str] = "Glm4vProcessor"

    def visual_mask(self, base: Any, input_ids: Tensor) -> Tensor:
        """The image's id only: each frame of a video is written as an image. [B, L] -> [B, L]."""
        return input_ids == base.config.image_token_id

    def visual_masks(self, base: Any, input_ids: Tensor) -> dict[str, Tensor]:
        """One medium, of which `of_medium` says which it is."""
        return {"image": self.visual_mask(base, input_ids)}

    def of_medium(self, medium: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a medium; for images those of a video, where the call has no images.

        Raises:
            LayoutError: the call has both, which the model cannot tell apart.
        """
        own = super().of_medium(medium, kwargs)
        video = super().of_medium("video", kwargs)
        if medium == "video" or not self.has_image_inputs(video):
            return own
        if self.has_image_inputs(own):
            raise LayoutError(
                f"{self.title} writes images and frames of videos with one id, and transformers "
                "merges only one of them into a prompt; this call has both. Ask about them in two "
                "prompts."
            )
        return video


@register_family("glm46v")
class GLM46V(GLM4V):
    """GLM-4.6V-Flash, images or a video."""

    title: ClassVar[str] = "GLM-4.6V"
    processor: ClassVar[str] = "Glm46VProcessor"


@register_family("glm4v_moe")
class GLM4V_MoE(GLM4V):
    """GLM-4.5V and 4.6V with experts in place of each MLP."""

    title: ClassVar[str] = "GLM-4.5V"
