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
from transprune.families.tower import grid_places, heads_of, resize, saliency_of


@register_family("llava")
class Llava(Family):
    """LLaVA-1.5: a CLIP (or SigLIP) tower whose patches are projected one by one."""

    title: ClassVar[str] = "LLaVA-1.5"

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
        """Index of the hidden states that become the features, or several to be joined."""
        chosen: int | Sequence[int] = base.config.vision_feature_layer
        return chosen

    def tokens_per_raw_image(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Every image has the same number of patches."""
        images = len(kwargs["pixel_values"])  # [images, 3, H, W]
        return [total // images] * images

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
        """Queries and keys of the layers that are read, and the states that become the features."""
        layers = _encoder(base)
        outputs = {"state": layers[self._layer(base, "")]}

        # projections, not attention maps: the tower may run a kernel that makes none
        for depth in {_depth(name) for name in signals if _is_attention(name)}:
            attention = layers[self._layer(base, depth)].self_attn
            outputs[f"{depth}query"] = attention.q_proj
            outputs[f"{depth}key"] = attention.k_proj

        inputs = {"tower": base.vision_tower} if "picture" in signals else {}
        return TapPoints(inputs, outputs, base.multi_modal_projector)

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every crop has the same patches; a CLS state that is no visual token is projected."""
        states = capture.outputs["state"]  # [C, n, V]
        crops = len(states)
        patches = states.shape[1] - self._drops_cls(base)
        crop = torch.arange(crops, device=states.device).repeat_interleave(patches)

        if not isinstance(self.feature_layer(base), int):
            return VisionRows(crop)  # the states of several layers are concatenated
        if not self._drops_cls(base):
            return VisionRows(crop, None, states.flatten(0, 1))
        # methods that compare patches with the whole image need the CLS state in feature space
        cls = base.multi_modal_projector(states[:, :1])[:, 0]
        return VisionRows(crop, cls, states[:, 1:].flatten(0, 1))

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """CLS attention (the mean attention received, without a CLS token) and keys per patch."""
        if not _is_attention(name):
            return self._place(base, capture, name)

        depth = _depth(name)
        attention: Any = _encoder(base)[self._layer(base, depth)].self_attn
        heads = 1 if depth == "outer_" else attention.num_heads  # PruMerge takes all heads as one
        query = heads_of(capture.outputs[f"{depth}query"], heads)  # [C, H, n, d]
        key = heads_of(capture.outputs[f"{depth}key"], heads)
        first = int(self._drops_cls(base))

        if name.endswith("keys"):
            return key.float().mean(dim=1)[:, first:].flatten(0, 1)  # [C, H, n, d] -> [R, d]

        saliency = saliency_of(query, key, key.shape[-1] ** -0.5, self.has_cls(base))  # [C, n]
        if self.has_cls(base) and not first:
            # the CLS row is a visual token here, and counts as much as the best patch
            saliency[:, 0] = saliency[:, 1:].amax(dim=1)
        return saliency[:, first:].flatten()

    def _place(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Row and column of every patch, or the size of the grid; a CLS row is at (0, 0)."""
        crops, rows, _ = capture.outputs["state"].shape
        vision = base.config.vision_config
        side = vision.image_size // vision.patch_size
        grid = torch.tensor([[side, side]], device=capture.outputs["state"].device)
        if name == "grid":
            return grid.expand(crops * (rows - self._drops_cls(base)), 2)

        places = grid_places(side, side, grid.device)
        if self.has_cls(base) and not self._drops_cls(base):
            places = torch.cat([places.new_zeros(1, 2), places])
        return places.repeat(crops, 1)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The resized picture through the tower with interpolated position embeddings."""
        args, kwargs = capture.inputs["tower"]
        patch = base.config.vision_config.patch_size
        pixels = (args[0] if args else kwargs["pixel_values"])[crop : crop + 1]
        small = resize(pixels, (grid[0] * patch, grid[1] * patch))  # [1, 3, h, w]

        # the position embeddings are made for one size, so they are interpolated
        options = {
            "interpolate_pos_encoding": True,
            "output_hidden_states": True,
            "return_dict": True,
        }
        hidden = base.vision_tower(small, **options).hidden_states
        chosen = self.feature_layer(base)
        layers = [chosen] if isinstance(chosen, int) else chosen
        first = int(self._drops_cls(base))

        # as the model does: the chosen layers side by side, [1, n, V * layers]
        states = torch.cat([hidden[layer][:, first:] for layer in layers], dim=-1)
        features: Tensor = base.multi_modal_projector(states)[0]
        return features

    def _layer(self, base: Any, depth: str) -> int:
        """Index of the encoder layer that a signal reads.

        hidden_states[0] are the embeddings, so hidden_states[i] leaves layer i - 1. VScan's early
        layer is 5 where the features leave 22; PruMerge's outer layer is the next one, or the same
        where there is none.
        """
        chosen = self.feature_layer(base)
        hidden_states = int(base.config.vision_config.num_hidden_layers) + 1
        if isinstance(chosen, int):
            chosen = [chosen]

        # of joined layers the deepest one counts
        used = max(layer % hidden_states for layer in chosen) - 1
        last = hidden_states - 2
        return {
            "": used,
            "early_": round(used * 5 / 22),
            "outer_": min(used + 1, last),
        }[depth]

    def _drops_cls(self, base: Any) -> bool:
        """Whether there is a CLS token that does not become a visual token."""
        strategy = getattr(base.config, "vision_feature_select_strategy", "default")
        return self.has_cls(base) and strategy == "default"


def _is_attention(name: str) -> bool:
    return name.endswith(("saliency", "keys"))


def _depth(name: str) -> str:
    """`"early_saliency"` -> `"early_"`; for the layer whose output becomes the features, `""`."""
    return name[: name.rfind("_") + 1]


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
