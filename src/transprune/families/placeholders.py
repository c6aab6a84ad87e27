"""A family known by the placeholders in its prompts only: nothing is known of its vision tower.

It serves model types whose language model pruning understands and whose tower nobody described:
the declared ones and the generic one. Methods that read the tower refuse these models by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from torch import Tensor, nn

from transprune.errors import MissingSignal
from transprune.families.base import Family, TapPoints, VisionCapture, VisionRows
from transprune.families.wrappers import unwrap

# names under which model classes hold their stack of decoder layers
DECODERS = ("language_model", "text_model")

SIZES = ("image_grid_thw", "video_grid_thw")


class Placeholders(Family):
    """Finds visual tokens by their ids, in front of a decoder called as one of `DECODERS`.

    Attributes:
        even: every entry of the pixels becomes the same number of tokens. Where that is not known,
            all features of a batch count as one image in a call that brings raw pixels; under
            `generate`, which encodes them first, they are told apart where the model does so.
    """

    kind: ClassVar[str] = "embedded"
    support: ClassVar[str] = "its language model, tested; its vision tower is not described"
    even: ClassVar[bool] = False

    def base(self, model: nn.Module) -> Any:
        """The module that holds the decoder, inside any PEFT or head wrapper."""
        inner = unwrap(model)
        has_decoder = any(hasattr(inner, name) for name in DECODERS)
        return inner if has_decoder else inner.model

    def decoder(self, base: Any) -> Any:
        """The stack of decoder layers, by the first of `DECODERS` that the class has."""
        for name in DECODERS:
            if hasattr(base, name):
                return getattr(base, name)
        return super().decoder(base)

    def tokens_per_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Visual tokens of each image, in prompt order: of the encoded features, else of the pixels."""
        outputs = kwargs.get("mm_encoder_outputs") or {}
        for output in outputs.values():
            if output is not None:
                return _rows_of(output.pooler_output)
        return self.tokens_per_raw_image(base, kwargs, total)

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Equal shares, the patches of each grid over the merge unit, or one image."""
        grids = [kwargs[name] for name in SIZES if kwargs.get(name) is not None]
        vision = getattr(base.config, "vision_config", None)
        merge = getattr(vision, "spatial_merge_size", None)
        if len(grids) == 1 and merge is not None:
            return [int(t * h * w) // merge**2 for t, h, w in grids[0].tolist()]

        images = _entries(kwargs) if self.even else 1
        return [total // images] * images if images else []

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """None is known.

        Raises:
            MissingSignal: always; a method that reads no signal never asks.
        """
        raise MissingSignal(
            f"this method reads the vision tower ({', '.join(sorted(signals))}), which is not "
            f"described for {self.title}. Use a method that reads the projected features only, "
            "such as DivPrune, or one within the language model."
        )

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Never reached, as nothing is tapped."""
        self._refuse()

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Never reached, as nothing is tapped."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise MissingSignal(f"the vision tower is not described for {self.title}")


def _rows_of(features: Tensor | Sequence[Tensor]) -> list[int]:
    """Rows of each image: of a list of [n, D], of [images, n, D], or of [n, D] for all together."""
    if isinstance(features, Tensor) and features.ndim == 2:
        return [len(features)]
    return [len(rows) for rows in features]


def _entries(kwargs: Mapping[str, Any]) -> int:
    """Entries of the pixels of this call."""
    for name, value in kwargs.items():
        if name.startswith("pixel_values") and value is not None:
            return len(value)
    return 1
