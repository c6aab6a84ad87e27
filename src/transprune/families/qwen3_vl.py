"""Qwen3-VL, dense and mixture of experts: further features join behind the first layers (DeepStack).

Three more mergers make features of blocks deeper in the tower. The decoder adds them to the visual
rows behind its layers 0, 1 and 2. A method that merges tokens writes what enters layer 0; the
features that are added later stay those of the slot.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.base import VisionCapture, register_family
from transprune.families.layers import AddedFeatures
from transprune.families.packed import Packed


@register_family("qwen3_vl")
class Qwen3_VL(Packed):
    """Qwen3-VL, images and videos.

    A video is one grid of frames, though its prompt has a time stamp between any two of them.
    """

    title: ClassVar[str] = "Qwen3-VL"
    processor: ClassVar[str] = "Qwen3VLProcessor"

    def added_features(self, kwargs: dict[str, Any]) -> AddedFeatures | None:
        """The features of DeepStack; the decoder is left without any."""
        features = kwargs.pop("deepstack_visual_embeds", None)
        mask = kwargs.pop("visual_pos_masks", None)
        if features is None or mask is None:
            return None
        return AddedFeatures(dict(enumerate(features)), mask)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """Refused: the features that are added later would still be those of the large picture.

        Raises:
            MissingSignal: always.
        """
        raise MissingSignal(
            f"{self.title} adds features of the picture behind its first layers too (DeepStack), "
            "and those of a smaller picture have no slots; use 'pool' as a control here"
        )


@register_family("qwen3_vl_moe")
class Qwen3_VL_MoE(Qwen3_VL):
    """The same with experts in place of each MLP."""

    title: ClassVar[str] = "Qwen3-VL-MoE"
