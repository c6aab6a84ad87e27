"""What a family is: where things are in one Hugging Face model class, and nothing about pruning.

Families are stateless. They name modules, read ids and know what a processor returns; the runtime
registers the hooks. Every fact about a model class stands in its family and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transprune.errors import FamilyError, UnknownFamily
from transprune.families.capture import TapPoints as TapPoints
from transprune.families.capture import VisionCapture as VisionCapture
from transprune.families.capture import VisionRows as VisionRows
from transprune.families.grid import Grid as Grid
from transprune.families.grid import square_grid
from transprune.families.inputs import InputReader
from transprune.families.layers import AddedFeatures as AddedFeatures
from transprune.families.layers import LayerKind, layer_kind, owners, split_heads
from transprune.families.rotation import Rotation, rotation_of
from transprune.families.vision import VisionReader
from transprune.families.wrappers import unwrap as unwrap
from transprune.registry import Registry

# LLaVA-1.5's prompt, for checkpoints without a chat template
PLAIN_PROMPT = "USER: {images}{question} ASSISTANT:"

# name in 0.1.0 -> name now; a subclass that still defines the old one would be ignored in silence
RENAMED = {
    "feeds_features": "has_image_inputs",
    "image_lengths": "tokens_per_image",
    "in_chunks": "is_chunked_prefill",
    "raw_image_lengths": "tokens_per_raw_image",
    "speaks_clip": "has_clip_tower",
    "vision_tap": "vision_tap_points",
    "visual": "visual_mask",
}


class Family(InputReader, VisionReader):
    """Where things are in one family of models.

    Attributes:
        title: the family's name for people.
        kind: how much is described: `"listed"` the whole model, `"embedded"` its placeholders and
            its language model, `"generic"` nothing of this model type.
        support: the same in words.
        mrope: positions have three axes (time, height, width), so they cannot be renumbered.
        plain_prompt: the prompt for checkpoints without a chat template.
        described_by: arguments of a call that say how large its pictures are, or what and where
            each token is: small whole numbers, which are copied to the host with the prompt.
        one_picture: trained on prompts with one picture; several in a prompt are foreign to it.
        row_arguments: places among a decoder layer's positional arguments, 0 being the hidden
            states, of tensors with one entry for each row, [B, L, ...].

    Its functions share arguments: `base` is the module that merges features, `kwargs` the arguments
    of a call of it; `attention` is a decoder layer's attention module and `projected` what its
    projection returned, [B, L, W]. What a call brings is read in `families.inputs`, the vision
    tower in `families.vision`.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    kind: ClassVar[str] = "listed"
    support: ClassVar[str] = "its own family, tested"
    mrope: ClassVar[bool] = False
    plain_prompt: ClassVar[str] = PLAIN_PROMPT
    described_by: ClassVar[tuple[str, ...]] = (
        "image_sizes",
        "image_grid_thw",
        "video_grid_thw",
        "mm_token_type_ids",
        "position_ids",
    )
    row_arguments: ClassVar[tuple[int, ...]] = ()
    one_picture: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # of this class alone: what it inherits was checked when its parent was made
        old = sorted(RENAMED.keys() & vars(cls).keys())
        if old:
            changes = ", ".join(f"{name} is now {RENAMED[name]}" for name in old)
            raise FamilyError(f"{cls.__name__} uses names of transprune 0.1: {changes}")

    def prove(self, model: nn.Module, session: Callable[..., AbstractContextManager[Any]]) -> None:
        """Check on the model itself what no test has checked: nothing, in a family with tests.

        `session` makes a session of it with a method, as `prune` does.
        """
        return None

    # ------------------------------------------------------------------------------ modules

    # Modules are found by name and only ever called: their weights may be offloaded, quantised or
    # sharded, so nothing here reads a weight.

    def base(self, model: nn.Module) -> Any:
        """The module that merges image features and calls the language model.

        It is found inside any PEFT or head wrapper.
        """
        inner = unwrap(model)
        return inner if hasattr(inner, "language_model") else inner.model

    def decoder(self, base: Any) -> Any:
        """The language model's stack of decoder layers."""
        return base.language_model

    def layers(self, base: Any) -> list[nn.Module]:
        """The decoder layers that run, in order."""
        decoder = self.decoder(base)
        # the decoder's own loop slices in the same way
        return list(decoder.layers)[: decoder.config.num_hidden_layers]

    def layer_kinds(self, base: Any) -> list[LayerKind]:
        """What each of these layers is.

        Raises:
            FamilyError: a layer in which nothing is known.
        """
        layers = self.layers(base)
        decoder = self.decoder(base)
        kinds = []
        for index, keys_of in enumerate(owners(layers)):
            kinds.append(layer_kind(self, decoder, layers, index, keys_of))
        return kinds

    def tower(self, base: Any) -> Any:
        """The vision tower."""
        return base.vision_tower

    def has_cls(self, base: Any) -> bool:
        """Whether the vision tower has a CLS token."""
        return False

    def has_clip_tower(self, base: Any) -> bool:
        """Whether the patches can be compared with a question in CLIP's joint space."""
        return False

    # -------------------------------------------------------------------- inside the decoder

    def query_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """What `q_proj` returned [B, L, W] as queries [B, H, L, d], normalised, not rotated."""
        return split_heads(attention, projected, "q_norm")

    def key_heads(self, attention: Any, projected: Tensor) -> Tensor:
        """What `k_proj` returned [B, L, W] as keys [B, Hkv, L, d], normalised, not rotated."""
        return split_heads(attention, projected, "k_norm")

    def rotation(self, attention: Any) -> Rotation | None:
        """(queries, keys, cos, sin) -> both rotated; None where the attention does not rotate."""
        return rotation_of(attention)

    def added_features(self, kwargs: dict[str, Any]) -> AddedFeatures | None:
        """Features that the decoder adds to visual rows between its layers, None without any.

        They are taken out of `kwargs`, the decoder's keyword arguments, which the runtime owns: it
        adds them itself, to those rows that are left.
        """
        return None

    # ---------------------------------------------------------------- grids and processors

    def grid(
        self, config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool
    ) -> Grid | None:
        """The grid of one image of a prompt, or None where none is known.

        Args:
            config: the model's configuration.
            inputs: what its processor returned.
            image: number of the image in the prompt.
            tokens: visual tokens of that image.
            cropped: the processor crops to the centre.
        """
        return square_grid(config, tokens, cropped=cropped)

    def has_fixed_size(self, config: Any) -> bool:
        """Whether every picture is brought to one size, and so to one number of tokens."""
        size = getattr(config.vision_config, "image_size", None)
        return bool(getattr(config, "image_seq_length", None) or size)

    def load_processor(self, place: str) -> Any:
        """The processor in a folder or of a hub id; raises whatever transformers raises."""
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(place)

    # --------------------------------------------------------------------- several pictures

    def join_pictures(self, pictures: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Picture inputs of several prompts as those of one batch."""
        joined = {}
        for name in pictures[0]:
            joined[name] = torch.cat([picture[name] for picture in pictures])
        return joined

    def encode_pictures(
        self, base: Any, pictures: Sequence[Mapping[str, Tensor]]
    ) -> list[list[Tensor]] | None:
        """Features [N, D] of every image of every entry, to be passed in any combination later.

        None where that is not possible, because images need sizes or grids beside their pixels.
        """
        return None

    def encoded_inputs(self, features: Sequence[Tensor]) -> dict[str, Any]:
        """Model inputs that carry features of `encode_pictures` instead of pixels."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        # without a last_hidden_state it would look like a chunk of a prompt
        output = BaseModelOutputWithPooling(
            last_hidden_state=features[0], pooler_output=list(features)
        )
        return {"mm_encoder_outputs": {"image": output}}


FAMILIES: Registry[Family] = Registry(
    "family",
    "transprune.families",
    UnknownFamily,
    home="transprune.families",
    cure=" To add one, write a Family for it (CONTRIBUTING, 'Add a family') and register it.",
)
register_family = FAMILIES.register


def find_family(model: nn.Module) -> Family:
    """The family of a model: the one that lists its `model_type`, else the generic one.

    Raises:
        UnknownFamily: the model has no such configuration, or no family knows its type and it lacks
            the shape that the generic one needs.
    """
    # at the end of this module's own import, because every family builds on it
    from transprune.families.generic import family_of_model

    inner = unwrap(model)
    config = getattr(inner, "config", None)
    model_type = getattr(config, "model_type", None)

    if model_type is None:
        known = ", ".join(FAMILIES)
        raise UnknownFamily(
            f"prune takes a transformers vision-language model ({known}); "
            f"got {type(model).__name__}"
        )

    return family_of_model(inner)
