"""What a family is: where things are in one Hugging Face model class, and nothing about pruning.

Families are stateless. They name modules and read ids; the runtime registers the hooks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transprune.errors import MissingSignal, UnknownFamily
from transprune.registry import Registry


@dataclass(frozen=True)
class VisionTap:
    """Modules of the vision tower that are heard for a projector-side method.

    Attributes:
        inputs: modules whose arguments are kept, by the name the family's own methods know them by.
        outputs: modules whose outputs are kept, likewise.
        projector: the module whose output rows become the visual tokens, in whatever order the family packs them.
    """

    inputs: Mapping[str, nn.Module]
    outputs: Mapping[str, nn.Module]
    projector: nn.Module


@dataclass
class VisionCapture:
    """What the taps heard in one call of the vision tower.

    Attributes:
        inputs: positional and keyword arguments of the tapped modules.
        outputs: outputs of the tapped modules.
        rows: output of the projector, flattened to [R, D].
    """

    inputs: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    rows: Tensor | None = None


@dataclass(frozen=True)
class VisionRows:
    """What the projector rows show.

    Attributes:
        crop: long [R], number of the tower input.
        cls: [crops, D], projected CLS states, or None.
        states: [R, V], what the projector made the rows of, or None where it merges patches.
    """

    crop: Tensor
    cls: Tensor | None = None
    states: Tensor | None = None


class Family(ABC):
    """Where things are in one family of models."""

    name: ClassVar[str]
    title: ClassVar[str] = ""
    mrope: ClassVar[bool] = False

    def base(self, model: nn.Module) -> Any:
        """The module that merges image features and calls the language model, inside any PEFT or head wrapper."""
        inner = unwrap(model)
        inner = inner if hasattr(inner, "language_model") else inner.model
        return inner

    def decoder(self, base: Any) -> Any:
        """The language model's stack of decoder layers."""
        return base.language_model

    def layers(self, base: Any) -> list[nn.Module]:
        """The decoder layers that run, in order."""
        decoder = self.decoder(base)
        return list(decoder.layers)[: decoder.config.num_hidden_layers]

    def visual(self, base: Any, input_ids: Tensor) -> Tensor:
        """Slots that hold image or video features. long [B, L] -> bool [B, L]."""
        ids = [getattr(base.config, name, None) for name in ("image_token_id", "video_token_id")]
        wanted = torch.tensor([i for i in ids if i is not None], device=input_ids.device)
        return torch.isin(input_ids, wanted)

    def feeds_features(self, kwargs: Mapping[str, Any]) -> bool:
        """Does this call merge features? (A model may also *sample* the image id; that is no image.)"""
        encoded = kwargs.get("mm_encoder_outputs") or {}
        pixels = any(
            key.startswith("pixel_values") and value is not None for key, value in kwargs.items()
        )
        return pixels or any(value is not None for value in encoded.values())

    def in_chunks(self, kwargs: Mapping[str, Any]) -> bool:
        """Is this a part of a prompt (`prefill_chunk_size`)? `generate` then hands over bare slices of the features."""
        encoded = [
            output
            for output in (kwargs.get("mm_encoder_outputs") or {}).values()
            if output is not None
        ]
        return any(getattr(output, "last_hidden_state", None) is None for output in encoded)

    def image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Visual tokens of each image of the batch, in prompt order; `total` is what the prompt holds."""
        encoded = [o for o in (kwargs.get("mm_encoder_outputs") or {}).values() if o is not None]
        if (
            len(encoded) > 1
        ):  # images and videos in one prompt: their order is not told, so they form one pool
            return [total]
        if encoded:
            return [len(rows) for rows in encoded[0].pooler_output]
        return self.raw_image_lengths(base, kwargs, total)

    @abstractmethod
    def raw_image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """The same from raw pixels."""

    @abstractmethod
    def vision_tap(self, base: Any, signals: Collection[str]) -> VisionTap:
        """What to listen to in the vision tower for these signals (`transprune.core.signals`)."""

    @abstractmethod
    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """What the projector rows show, from what the taps heard."""

    @abstractmethod
    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """One signal per projector row, [R] or [R, d]."""

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """Features [rows * columns, D] of the picture of one crop, resized to a smaller grid of tokens."""
        raise MissingSignal(
            f"{self.title} cannot encode a picture at another size; use 'pool' as a control here"
        )

    def speaks_clip(self, base: Any) -> bool:
        """Is the vision tower CLIP's, so that the text half of that CLIP embeds questions beside its patches?"""
        return False


def unwrap(model: Any) -> Any:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


FAMILIES: Registry[Family] = Registry(
    "family",
    "transprune.families",
    UnknownFamily,
    home="transprune.families",
    cure=" To add one, write a Family for it (CONTRIBUTING, 'Add a family') and register it.",
)
register_family = FAMILIES.register


def find_family(model: nn.Module) -> Family:
    """The family of a model, by its configuration's `model_type`.

    Raises:
        UnknownFamily: the model has no such configuration, or no family knows its type.
    """
    inner = unwrap(model)
    model_type = getattr(getattr(inner, "config", None), "model_type", None)
    if model_type is None:
        known = ", ".join(FAMILIES)
        raise UnknownFamily(
            f"prune takes a transformers vision-language model ({known}); got {type(model).__name__}"
        )
    return FAMILIES.get(model_type)()
