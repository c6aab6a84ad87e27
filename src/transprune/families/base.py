"""What a family is: where things are in one Hugging Face model class, and nothing about pruning.

Families are stateless. They name modules, read ids and know what a processor returns; the runtime
registers the hooks. Every fact about a model class stands in its family and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transprune.errors import FamilyError, MissingSignal, UnknownFamily
from transprune.families.capture import TapPoints as TapPoints
from transprune.families.capture import VisionCapture as VisionCapture
from transprune.families.capture import VisionRows as VisionRows
from transprune.families.frames import find_frames
from transprune.families.layers import AddedFeatures as AddedFeatures
from transprune.families.layers import LayerKind, layer_kind, owners, split_heads
from transprune.families.rotation import Rotation, rotation_of
from transprune.families.tilings import WHOLE
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


@dataclass(frozen=True)
class Grid:
    """Where the tokens of one image lie: `rows * columns` of them in raster order, first of all.

    Attributes:
        rows, columns: tokens down and across.
        cropped: they cover the centre square only, because the processor crops.
        total: visual tokens of the image; more than rows * columns where some have no place in it.
    """

    rows: int
    columns: int
    cropped: bool = False
    total: int = 0

    @property
    def cells(self) -> int:
        """Tokens that have a place."""
        return self.rows * self.columns

    @property
    def partial(self) -> bool:
        """Some tokens of the image have no place."""
        return self.total > self.cells


class Family(ABC):
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
    of a call of it, `input_ids` its prompt, long [B, L], `mask` the slots of one medium, bool
    [B, L], `lengths` the visual tokens of each image or video and `total` their sum; `attention` is
    a decoder layer's attention module and `projected` what its projection returned, [B, L, W];
    `capture` is what was captured of one call of the vision tower.
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

    # ------------------------------------------------------------------------------- inputs

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
        # a CLS token among the visual tokens, or merged patches, make another number
        side = _square_side(config)
        if side is None or tokens != side**2:
            return None
        return Grid(side, side, cropped=cropped, total=tokens)

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

    # ------------------------------------------------------------------------ vision signals

    @abstractmethod
    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """Where to tap the vision tower for these signals (`transprune.core.signals`)."""

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Small tensors of a call of the tower that the functions below need on the host.

        They are copied together, and are then in `capture.on_host`.
        """
        return {}

    def candidate_rows(self, base: Any, capture: VisionCapture) -> Tensor:
        """Rows of one call of the tower that may become visual tokens. [R, D].

        The projector's rows, unless a model makes tokens of them behind it (LLaVA-OneVision).
        `vision_rows` and `vision_signal` describe these rows, in this order.
        """
        assert capture.rows is not None
        return capture.rows

    def crop_looks(self, base: Any, capture: VisionCapture) -> Tensor | None:
        """A small picture of each input of the tower, [C, channels, n, n] fp32.

        From these the runtime tells how the tiles of a picture lie where their order does not
        (`families.tilings.IN_A_ROW`); None in families that need none.
        """
        return None

    @abstractmethod
    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Where the projector rows come from, of one call of the tower."""

    @abstractmethod
    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """One signal per projector row, [R] or [R, d]; whole numbers on the host."""

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """Features [rows * columns, D] of one crop's picture, resized to a smaller grid.

        Raises:
            MissingSignal: a tower that takes pictures of one size, or needs more than pixels.
        """
        raise MissingSignal(
            f"{self.title} cannot encode a picture at another size; use 'pool' as a control here"
        )


def _encoder_outputs(kwargs: Mapping[str, Any]) -> list[Any]:
    """What `generate` encoded before the first forward, one output per modality."""
    outputs = kwargs.get("mm_encoder_outputs") or {}
    return [output for output in outputs.values() if output is not None]


def _square_side(config: Any) -> int | None:
    """Patches along one side of the tower's square input; None where the size is not fixed."""
    size = getattr(config.vision_config, "image_size", None)
    patch = getattr(config.vision_config, "patch_size", None)
    if not isinstance(size, int) or not isinstance(patch, int):
        return None
    return size // patch


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
