"""SmolVLM, SmolVLM2 and Idefics 3: a SigLIP-like tower for pictures of any size in tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from transprune.errors import MissingSignal
from transprune.families.base import VisionCapture, VisionRows, register_family
from transprune.families.merged import Merged, side_by_side, tower_pixels
from transprune.families.placeholders import Placeholders
from transprune.families.tilings import UNKNOWN, WHOLE
from transprune.families.tower import resize
from transprune.families.without_videos import load_with_or_without_videos
from transprune.families.wrappers import unwrap


@register_family("idefics3")
class Idefics3(Merged):
    """Idefics 3. Pixels are [samples, tiles, 3, H, W]; tiles of zeros fill up a sample.

    A picture is several tiles and a small view of the whole; each of them is an image in
    `pool="image"`, as the model counts them.
    """

    title: ClassVar[str] = "Idefics 3"

    def base(self, model: nn.Module) -> Any:
        """The module that has the decoder as `text_model`."""
        inner = unwrap(model)
        return inner if hasattr(inner, "text_model") else inner.model

    def decoder(self, base: Any) -> Any:
        """The language model."""
        return base.text_model

    def tower(self, base: Any) -> Any:
        """The vision tower."""
        return base.vision_model

    def projector(self, base: Any) -> nn.Module:
        """The module that merges patches and projects them."""
        connector: nn.Module = base.connector
        return connector

    def merge(self, config: Any) -> int:
        """Three or four in SmolVLM, two in Idefics 3."""
        return int(config.scale_factor)

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Equal tiles. Their number follows from the prompt: tiles of zeros have no tokens."""
        return self.tokens_per_raw_image(base, kwargs, total)

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """The same."""
        vision = base.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        return equal_tiles(total, patches // self.merge(base.config) ** 2)

    def tilings(
        self, base: Any, kwargs: Mapping[str, Any], mask: Tensor, lengths: Sequence[int]
    ) -> list[int]:
        """Between tiles stands text, as between pictures: several images of a sample may be either."""
        number = np.repeat(np.arange(len(lengths)), lengths)
        sample = mask.numpy().nonzero()[0]  # of each visual token
        samples = [int(sample[number == image][0]) for image in range(len(lengths))]
        return [WHOLE if samples.count(one) == 1 else UNKNOWN for one in samples]

    def crop_looks(self, base: Any, capture: VisionCapture) -> Tensor | None:
        """Nothing tells which images of a sample are one picture."""
        return None

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Whether every patch of every tile shows something."""
        mask = capture.inputs["tower"][1].get("patch_attention_mask")
        return {} if mask is None else {"whole": mask.all()[None]}

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Equal tiles.

        Raises:
            MissingSignal: some patches are padding, whose attention means nothing.
        """
        whole = capture.on_host.get("whole")
        if whole is not None and not whole.all():
            raise MissingSignal(
                f"a tile is padded within (pixel_attention_mask), and {self.title}'s tower is read "
                "of whole tiles only; let the processor resize pictures to full tiles, or use a "
                "method that reads the projected features only, such as DivPrune"
            )

        return super().vision_rows(base, capture)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The resized tile through the tower, which takes any size, and the projection."""
        merge = self.merge(base.config)
        side = base.config.vision_config.patch_size * merge
        small = resize(tower_pixels(capture)[crop : crop + 1], (grid[0] * side, grid[1] * side))
        states = base.vision_model(small, return_dict=True).last_hidden_state

        # the connector's own merging takes squares only
        features: Tensor = base.connector.modality_projection(side_by_side(states, *grid, merge))
        return features[0]


@register_family("smolvlm")
class SmolVLM(Idefics3):
    """SmolVLM and SmolVLM2. A video is a row of pictures with image tokens."""

    title: ClassVar[str] = "SmolVLM"

    def load_processor(self, place: str) -> Any:
        """Without torchvision one that reads pictures only."""
        return load_with_or_without_videos(place, "SmolVLMProcessor")


@register_family("idefics2")
class Idefics2(Placeholders):
    """Idefics 2: a resampler makes every tile the same few tokens, which have no place in it."""

    title: ClassVar[str] = "Idefics 2"

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Equal tiles, as in Idefics 3."""
        return self.tokens_per_raw_image(base, kwargs, total)

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """The same."""
        return equal_tiles(total, base.config.perceiver_config.resampler_n_latents)


def equal_tiles(total: int, tokens: int) -> list[int]:
    """`total` tokens as tiles of `tokens` each; what is left over is one more, for an error later."""
    full, rest = divmod(total, tokens)
    return [tokens] * full + [rest] * bool(rest)
