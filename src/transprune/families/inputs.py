"""What a family reads of one call of the model: which slots are visual, and of which picture each is.

Everything here follows from the arguments of the call. The configuration names ids only: what the
caller passes is what counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from transprune.families.frames import find_frames
from transprune.families.tilings import WHOLE


class InputReader(ABC):
    """How the arguments of a call tell its visual tokens.

    The functions share arguments: `base` is the module that merges features, `kwargs` the arguments
    of a call of it, `input_ids` its prompt, long [B, L], `mask` the slots of one medium, bool
    [B, L], `lengths` the visual tokens of each image or video and `total` their sum.
    """

    def visual_mask(self, base: Any, input_ids: Tensor) -> Tensor:
        """Slots that hold image or video features. long [B, L] -> bool [B, L]."""
        visual = input_ids == base.config.image_token_id
        video = getattr(base.config, "video_token_id", None)
        return visual if video is None else visual | (input_ids == video)

    def visual_masks(self, base: Any, input_ids: Tensor) -> dict[str, Tensor]:
        """The same for each medium, `"image"` and `"video"`, whose features come one by one."""
        visual = self.visual_mask(base, input_ids)
        video = getattr(base.config, "video_token_id", None)
        if video is None:
            return {"image": visual}

        is_video = input_ids == video
        return {"image": visual & ~is_video, "video": visual & is_video}

    def masks_of_embeddings(self, kwargs: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The same of a call with embeddings and without ids; None where nothing says it."""
        # processors return token types beside the ids: 1 for images, 2 for videos
        kinds = kwargs.get("mm_token_type_ids")
        rows = kwargs.get("inputs_embeds")
        if not isinstance(kinds, Tensor) or rows is None or kinds.shape != rows.shape[:2]:
            return None
        return {"image": kinds == 1, "video": kinds == 2}

    def of_medium(self, medium: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call without those of the other medium."""
        own = {}
        for name, value in kwargs.items():
            picture = name.startswith(("pixel_values", "image_", "video_"))
            if not picture or ("video" in name) == (medium == "video"):
                own[name] = value

        outputs = kwargs.get("mm_encoder_outputs") or {}
        own["mm_encoder_outputs"] = {medium: outputs.get(medium)}
        return own

    def has_image_inputs(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether this call merges image features into the prompt."""
        # placeholder ids prove nothing: a model may sample the image id itself
        return self.has_pixels(kwargs) or bool(_encoder_outputs(kwargs))

    def has_pixels(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether this call brings pictures that are not encoded yet."""
        present = [key for key, value in kwargs.items() if value is not None]
        return any(key.startswith("pixel_values") for key in present)

    def is_chunked_prefill(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether this is a part of a prompt (`prefill_chunk_size`).

        `generate` then passes bare slices of the features, without the encoder's other outputs.
        """
        outputs = _encoder_outputs(kwargs)
        # a slice has the features (`pooler_output`) only
        return any(getattr(output, "last_hidden_state", None) is None for output in outputs)

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Visual tokens of each image of the batch, in prompt order; `total` are in the prompt.

        `kwargs` hold one medium (`of_medium`).
        """
        # `generate` encodes the images before the first forward
        outputs = _encoder_outputs(kwargs)
        if outputs:
            return [len(rows) for rows in outputs[0].pooler_output]
        return self.tokens_per_raw_image(base, kwargs, total)

    @abstractmethod
    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """The same from raw pixels."""

    def frames(
        self, base: Any, kwargs: Mapping[str, Any], mask: Tensor, lengths: Sequence[int]
    ) -> list[list[int]] | None:
        """Visual tokens of each frame of each video of the batch; None where nothing tells.

        A frame is one time step of the language model, which may be several pictures of the video
        (two with Qwen's `temporal_patch_size`).

        Args:
            base: the module that merges features.
            kwargs: of the call, those of videos only; what `described_by` names, and `input_ids`,
                are on the host.
            mask: slots of video features, bool [B, L], on the host.
            lengths: visual tokens of each video, in prompt order.
        """
        return find_frames(kwargs, mask, lengths)

    def tilings(
        self, base: Any, kwargs: Mapping[str, Any], mask: Tensor, lengths: Sequence[int]
    ) -> list[int]:
        """How each image of the batch was cut (`families.tilings`). Arguments as for `frames`."""
        return [WHOLE] * len(lengths)


def _encoder_outputs(kwargs: Mapping[str, Any]) -> list[Any]:
    """What `generate` encoded before the first forward, one output per modality."""
    outputs = kwargs.get("mm_encoder_outputs") or {}
    return [output for output in outputs.values() if output is not None]
