"""MiniCPM-V 4.6: slices of pictures of any shape, in front of a Qwen3.5 text model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from transprune.errors import FamilyError
from transprune.families.base import register_family
from transprune.families.placeholders import Placeholders
from transprune.families.qwen3_5 import Qwen3_5


@register_family("minicpmv4_6")
class MiniCPMV4_6(Placeholders):
    """MiniCPM-V 4.6: a picture and its slices are images of their own.

    Every fourth layer attends, the others carry a recurrent state.
    """

    title: ClassVar[str] = "MiniCPM-V 4.6"
    described_by: ClassVar[tuple[str, ...]] = (
        *Placeholders.described_by,
        "target_sizes",
        "target_sizes_videos",
    )

    def base(self, model: nn.Module) -> Any:
        """The module that merges features.

        Raises:
            FamilyError: the configuration does not say which token stands for pictures.
        """
        base = super().base(model)
        if base.config.image_token_id is None:
            raise FamilyError(
                "this MiniCPM-V configuration has no image_token_id, so its pictures cannot be "
                "found in a prompt; set model.config.image_token_id to the processor's"
            )
        return base

    def query_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """The projection of a head is its query, then a gate."""
        return Qwen3_5.query_heads(self, attention, projected)  # type: ignore[arg-type]

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches of each slice over those of a token, 16 or, on request, 4 in each round."""
        sizes = kwargs.get("target_sizes")
        if sizes is None:
            return self._of_videos(base, kwargs, total)

        merge = self._patches_per_token(base.config, kwargs.get("downsample_mode"))
        return [int(h) * int(w) // merge for h, w in sizes]

    def _of_videos(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Frames are pictures; every video of a call has the same ones."""
        sizes = kwargs["target_sizes_videos"]
        merge = self._patches_per_token(base.config, kwargs.get("downsample_mode"))
        frames = [int(h) * int(w) // merge for h, w in sizes]
        return frames * (total // sum(frames)) if sum(frames) else []

    def _patches_per_token(self, config: Any, mode: str | None) -> int:
        rows, columns = config.merge_kernel_size
        patches = int(rows * columns) ** int(config.merger_times)
        return patches if (mode or config.downsample_mode) == "4x" else 4 * patches

    def has_fixed_size(self, config: Any) -> bool:
        """Pictures keep their shape."""
        return False
