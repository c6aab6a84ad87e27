"""LLaVA-1.5 and everything built as `LlavaForConditionalGeneration`.

One vision tower, a projector that maps its patches one by one, and a Llama-like decoder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.base import Family, TapPoints, VisionCapture, VisionRows, register_family
from transprune.families.depths import depth_of, is_attention, layer_at
from transprune.families.llava_capture import (
    copied_layers,
    is_packed,
    layer_of,
    left_out,
    picture_sides,
    projector_input,
    tower_pixels,
    tower_states,
)
from transprune.families.tower import grid_places, heads_of, resize, saliency_of


@register_family("llava")
class Llava(Family):
    """LLaVA-1.5: a CLIP (or SigLIP) tower whose patches are projected one by one."""

    title: ClassVar[str] = "LLaVA-1.5"
    one_picture: ClassVar[bool] = True

    def has_cls(self, base: Any) -> bool:
        """CLIP towers have one, SigLIP's do not."""
        embeddings = getattr(base.vision_tower, "embeddings", None)
        return hasattr(embeddings, "class_embedding")

    def has_clip_tower(self, base: Any) -> bool:
        """Whether the tower is CLIP's and one of its layers becomes the features."""
        # the concatenated states of several layers have no place in CLIP's space
        clip = base.config.vision_config.model_type in ("clip_vision_model", "clip")
        return clip and isinstance(self.feature_layer(base), int)

    def feature_layer(self, base: Any) -> int | Sequence[int]:
        """Index of the hidden states that become the features, or several to be joined.

        As the configuration says; a call may say otherwise (`_feature_layers`).
        """
        chosen: int | Sequence[int] = base.config.vision_feature_layer
        return chosen

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Every image has the same number of patches, unless the call gives sizes (Pixtral)."""
        sizes = kwargs.get("image_sizes")
        if sizes is not None:
            patch = base.config.vision_config.patch_size
            return [(int(h) // patch) * (int(w) // patch) for h, w in sizes]

        images = len(kwargs["pixel_values"])  # [images, 3, H, W]
        return [total // images] * images if images else []

    def encode_pictures(
        self, base: Any, pictures: Sequence[Mapping[str, Tensor]]
    ) -> list[list[Tensor]] | None:
        """Every picture has the same shape, so all of them are encoded at once."""
        if any(set(picture) != {"pixel_values"} for picture in pictures):
            return None
        if not pictures:
            return []

        pixels = torch.cat([picture["pixel_values"] for picture in pictures])  # [images, 3, H, W]
        rows = iter(base.get_image_features(pixel_values=pixels).pooler_output)
        features = []
        for picture in pictures:  # an entry may have several images
            features.append([next(rows) for _ in picture["pixel_values"]])
        return features

    def vision_tap_points(self, base: Any, signals: Collection[str]) -> TapPoints:
        """All states of the tower, those that are projected, and queries and keys of the layers
        that are read.
        """
        inputs = {"tower": base.vision_tower, "projector": base.multi_modal_projector}
        outputs = {"tower": base.vision_tower}

        # projections, not attention maps: the tower may run a kernel that makes none
        for depth in {depth_of(name) for name in signals if is_attention(name)}:
            attention = _encoder(base)[self._layer(base, depth)].self_attn
            outputs[f"{depth}query"] = attention.q_proj
            outputs[f"{depth}key"] = attention.k_proj

        return TapPoints(inputs, outputs, base.multi_modal_projector)

    def vision_numbers(self, base: Any, capture: VisionCapture) -> dict[str, Tensor]:
        """Sizes of pictures, and which layers' states were copied in front of the projector."""
        numbers: dict[str, Tensor] = {}
        sizes = capture.inputs["tower"][1].get("image_sizes")
        if is_packed(base) and isinstance(sizes, Tensor):
            numbers["image_sizes"] = sizes

        copied = copied_layers(self._projected_parts(base, capture), tower_states(capture))
        if copied is not None:
            numbers["layers"] = copied
        return numbers

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every crop has the same patches; a CLS state that is no visual token is projected."""
        projected = projector_input(capture)  # [C, n, V], or [1, n, V] of several pictures
        crop = torch.arange(len(projected)).repeat_interleave(projected.shape[1])
        if is_packed(base):
            sides = torch.tensor(picture_sides(base, capture), dtype=torch.long)
            crop = torch.arange(len(sides)).repeat_interleave(sides.prod(dim=1))

        layers = self._feature_layers(base, capture)
        if len(layers) > 1:
            return VisionRows(crop)  # the states of several layers are concatenated
        if not (self.has_cls(base) and left_out(capture)):
            return VisionRows(crop, None, projected.flatten(0, 1))

        # methods that compare patches with the whole image need the CLS state in feature space
        states = tower_states(capture)[layers[0]]
        assert states is not None
        cls = base.multi_modal_projector(states[:, :1])[:, 0]
        return VisionRows(crop, cls, projected.flatten(0, 1))

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """CLS attention (the mean attention received, without a CLS token) and keys per patch."""
        if not is_attention(name):
            return self._place(base, capture, name)

        depth = depth_of(name)
        index = self._layer(base, depth, self._feature_layers(base, capture))
        attention: Any = _encoder(base)[index].self_attn
        heads = 1 if depth == "outer_" else attention.num_heads  # PruMerge takes all heads as one
        query, key = self._query_and_key(base, capture, depth, index)
        query = heads_of(query, heads)  # [C, H, n, d]
        key = heads_of(key, heads)
        first = left_out(capture)

        if name.endswith("keys"):
            return key.float().mean(dim=1)[:, first:].flatten(0, 1)  # [C, H, n, d] -> [R, d]

        scale = key.shape[-1] ** -0.5
        saliency = saliency_of(query, key, scale, self.has_cls(base), name)  # [C, n]
        if self.has_cls(base) and not first:
            # the CLS row is a visual token here, and counts as much as the best patch
            saliency[:, 0] = saliency[:, 1:].amax(dim=1)

        return saliency[:, first:].flatten()

    def _query_and_key(
        self, base: Any, capture: VisionCapture, depth: str, index: int
    ) -> tuple[Tensor, Tensor]:
        """Projections of encoder layer `index`. [C, n, V] each."""
        if index == self._layer(base, depth):
            return capture.outputs[f"{depth}query"], capture.outputs[f"{depth}key"]

        # the call chose other features than the configuration, for which the hooks were
        # registered, and the tower keeps no states that nobody asked for: it runs once more
        args, kwargs = capture.inputs["tower"]
        states = base.vision_tower(*args, **{**kwargs, "output_hidden_states": True}).hidden_states
        layer = _encoder(base)[index]
        normalised = layer.layer_norm1(states[index])
        return layer.self_attn.q_proj(normalised), layer.self_attn.k_proj(normalised)

    def _place(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Row and column of every patch, or the size of the grid; a CLS row is at (0, 0)."""
        first = left_out(capture)
        parts = []
        for rows, columns in picture_sides(base, capture):
            places = grid_places(rows, columns)
            if self.has_cls(base) and not first:
                places = torch.cat([places.new_zeros(1, 2), places])
            if not self.has_cls(base) and first:
                places = places[first:]  # SigLIP has no CLS token: the first patch is left out
            if name == "grid":
                places = places.new_tensor([[rows, columns]]).expand_as(places)
            parts.append(places)

        return torch.cat(parts)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The resized picture through the tower with interpolated position embeddings."""
        pixels = tower_pixels(capture)
        if is_packed(base):
            raise MissingSignal(
                f"{self.title} with a {type(base.vision_tower).__name__} cannot encode a picture "
                "at another size; use 'pool' as a control here"
            )

        patch = base.config.vision_config.patch_size
        small = resize(pixels[crop : crop + 1], (grid[0] * patch, grid[1] * patch))  # [1, 3, h, w]

        # the position embeddings are made for one size, so they are interpolated
        options = {
            "interpolate_pos_encoding": True,
            "output_hidden_states": True,
            "return_dict": True,
        }

        hidden = base.vision_tower(small, **options).hidden_states
        first = left_out(capture)

        # as the model does: the chosen layers side by side, [1, n, V * layers]
        layers = self._feature_layers(base, capture)
        states = torch.cat([hidden[layer][:, first:] for layer in layers], dim=-1)
        features: Tensor = base.multi_modal_projector(states)[0]

        # a CLS row in front has no place in the grid
        cells = grid[0] * grid[1]
        if len(features) < cells:
            raise MissingSignal(
                "this tower has no CLS token, and vision_feature_select_strategy='default' leaves "
                "out a patch instead; use 'full' with it"
            )

        return features[-cells:]

    def _feature_layers(self, base: Any, capture: VisionCapture) -> list[int]:
        """Indices of the hidden states that this call of the tower turned into features.

        Raises:
            MissingSignal: the projector was given something else.
        """
        hidden = tower_states(capture)
        parts = self._projected_parts(base, capture)
        flags = capture.on_host.get("layers")
        layers = []
        for number, states in enumerate(parts):
            layers.append(layer_of(states, hidden, None if flags is None else flags[number]))
        return layers

    def _projected_parts(self, base: Any, capture: VisionCapture) -> Sequence[Tensor]:
        """The states of each layer that was projected; those of several stand side by side."""
        return projector_input(capture).split(base.config.vision_config.hidden_size, dim=-1)

    def _layer(self, base: Any, depth: str, layers: Sequence[int] | None = None) -> int:
        """Index of the encoder layer that a signal reads.

        hidden_states[0] are the embeddings, so hidden_states[i] leaves layer i - 1. Without
        `layers`, those of the configuration.
        """
        hidden_states = int(base.config.vision_config.num_hidden_layers) + 1
        if layers is None:
            chosen = self.feature_layer(base)
            layers = [chosen] if isinstance(chosen, int) else chosen

        # of joined layers the deepest one counts; embeddings leave no layer, and the first one
        # reads them
        used = max(0, max(layer % hidden_states for layer in layers) - 1)
        return layer_at(depth, used, last=hidden_states - 2)


def _encoder(base: Any) -> Any:
    """The encoder's layers.

    Raises:
        MissingSignal: the tower is built otherwise.
    """
    encoder = getattr(base.vision_tower, "encoder", None)
    layers = getattr(encoder, "layers", None)

    if layers is None or not hasattr(layers[0], "self_attn"):
        raise MissingSignal(
            "reading the vision tower needs a CLIP-like encoder; "
            f"{type(base.vision_tower).__name__} is none. Use a method that reads the projected "
            "features only, such as DivPrune, or one within the language model."
        )

    return layers
