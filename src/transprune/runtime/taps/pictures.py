"""What a family says of the pictures and videos of one call, checked against its placeholders.

A family describes arguments as the processor returns them. A caller may pass others, so every
answer has to add up to the placeholders in the prompt before anything is numbered by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from transprune.core.library import past_length
from transprune.core.prompt import Numbers
from transprune.core.rows import Flags
from transprune.errors import LayoutError, PruneError
from transprune.families.base import Family
from transprune.families.tilings import WHOLE
from transprune.runtime.taps.numbering import count_through, runs

NO_FRAMES = (
    "nothing in this call tells the frames of its video apart; call the model with "
    "pixel_values_videos instead of encoded features (and without beams), or use pool='image', "
    "which takes a whole video as one pool"
)
IN_CACHE = (
    "; pictures of earlier turns are in the cache already, so pass only those that are new in this "
    "turn"
)


@dataclass(frozen=True)
class Pictures:
    """The pictures and videos of one call.

    Attributes:
        family: of the model.
        base: the module that merges features.
        kwargs: arguments of the call, `input_ids` and what `described_by` names on the host.
        media: slots of each medium that the prompt has, bool [B, L].
    """

    family: Family
    base: Any
    kwargs: Mapping[str, Any]
    media: Mapping[str, Flags]

    def lengths(self, medium: str) -> list[int]:
        """Visual tokens of each image or video of the batch, in prompt order.

        Raises:
            LayoutError: arguments that no processor returns, or other numbers than placeholders.
        """
        mask = self.media[medium]
        own = self.family.of_medium(medium, self.kwargs)
        if not self.family.has_image_inputs(own) and self.kwargs.get("inputs_embeds") is not None:
            return runs(mask)  # merged by the caller, who passes no sizes

        total = int(mask.sum())
        try:
            lengths = self.family.tokens_per_image(self.base, own, total)
        except PruneError:
            raise
        # a family takes the arguments as given; in another shape they fail wherever they are used
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise LayoutError(
                f"the {medium} inputs of this call are not as the processor returns them: {error}"
            ) from error

        self._check_lengths(medium, lengths, total)
        return lengths

    def _check_lengths(self, medium: str, lengths: list[int], total: int) -> None:
        """Raise LayoutError unless the pictures fill the `total` placeholders of the prompt."""
        if not lengths:
            raise LayoutError(
                f"the prompt holds {total} {medium} placeholders, but the {medium} inputs of this "
                "call are empty; pass the pixels of every picture"
            )

        if sum(lengths) != total:
            later = past_length(self.kwargs) > 0
            raise LayoutError(
                f"the prompt holds {total} {medium} placeholders, but its {medium}s give "
                f"{sum(lengths)} features" + (IN_CACHE if later else "")
            )

    def frames(self, medium: str, lengths: list[int], needed: bool) -> list[list[int]]:
        """Visual tokens of each frame of each image or video; one frame where nothing tells.

        Args:
            medium: `"image"`, whose pictures are one frame each, or `"video"`.
            lengths: visual tokens of each.
            needed: every frame is ranked by itself, so that one for all would be wrong.

        Raises:
            LayoutError: frames that are needed and cannot be told apart, or do not add up.
        """
        whole = [[length] for length in lengths]
        if medium != "video":
            return whole

        own = self.family.of_medium(medium, self.kwargs)
        mask = torch.from_numpy(self.media[medium])
        frames = self.family.frames(self.base, own, mask, lengths)
        if frames is None:
            if needed:
                raise LayoutError(NO_FRAMES)
            return whole

        if [sum(of_video) for of_video in frames] != lengths:
            raise LayoutError(
                f"{self.family.title} splits videos of {lengths} visual tokens into frames of "
                f"{frames}; its `frames` must return parts of exactly these"
            )

        return frames

    def tiling(self, lengths: Mapping[str, list[int]]) -> Numbers:
        """How the picture of each slot was cut (`families.tilings`), long [B, L].

        `lengths` are those of each medium. Videos are not cut.
        """
        shape = next(iter(self.media.values())).shape
        found = np.full(shape, WHOLE, dtype=np.int64)

        if "image" in self.media:
            mask = self.media["image"]
            own = self.family.of_medium("image", self.kwargs)
            tilings = self.family.tilings(self.base, own, torch.from_numpy(mask), lengths["image"])
            picture = count_through(mask, lengths["image"])
            found[mask] = np.array(tilings)[picture[mask]]

        return found
