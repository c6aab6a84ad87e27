"""LLaVA-1.5 and everything built as `LlavaForConditionalGeneration`: one tower, a projector, a Llama-like decoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.base import Family, VisionCapture, VisionRows, VisionTap, register_family
from transprune.families.tower import grid_places, heads_of, resize, saliency_of


@register_family("llava")
class Llava(Family):
    """LLaVA-1.5: a CLIP (or SigLIP) tower whose patches are projected one by one."""

    title: ClassVar[str] = "LLaVA-1.5"

    def raw_image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Every image has the same number of patches."""
        images = len(kwargs["pixel_values"])
        return [total // images] * images

    def speaks_clip(self, base: Any) -> bool:
        """CLIP towers do, SigLIP's do not."""
        return base.config.vision_config.model_type in ("clip_vision_model", "clip")

    def vision_tap(self, base: Any, signals: Collection[str]) -> VisionTap:
        """Queries and keys of the layers asked for, and the states that become the features."""
        layers = _encoder(base)
        outputs = {"state": layers[_layer(base, "")]}
        for depth in {_depth(name) for name in signals if _is_attention(name)}:
            attention = layers[_layer(base, depth)].self_attn
            outputs |= {f"{depth}query": attention.q_proj, f"{depth}key": attention.k_proj}
        inputs = {"tower": base.vision_tower} if "picture" in signals else {}
        return VisionTap(inputs, outputs, base.multi_modal_projector)

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Every crop has the same patches; the CLS state is projected beside them where the features leave it out."""
        states = capture.outputs["state"]
        crops = len(states)
        patches = states.shape[1] - _drops_cls(base)
        crop = torch.arange(crops, device=states.device).repeat_interleave(patches)
        if not isinstance(
            base.config.vision_feature_layer, int
        ):  # the states of several layers are concatenated
            return VisionRows(crop)
        if not _drops_cls(base):
            return VisionRows(crop, None, states.flatten(0, 1))
        return VisionRows(
            crop, base.multi_modal_projector(states[:, :1])[:, 0], states[:, 1:].flatten(0, 1)
        )

    def vision_signal(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """CLS attention and keys per patch; without a CLS token, the mean attention a patch receives."""
        if not _is_attention(name):
            return self._place(base, capture, name)
        depth = _depth(name)
        attention: Any = _encoder(base)[_layer(base, depth)].self_attn
        heads = 1 if depth == "outer_" else attention.num_heads  # PruMerge takes all heads as one
        query, key = (
            heads_of(capture.outputs[f"{depth}{part}"], heads) for part in ("query", "key")
        )  # [C, H, n, d]
        drops = _drops_cls(base)
        if name.endswith("keys"):
            return key.float().mean(dim=1)[:, int(drops) :].flatten(0, 1)
        saliency = saliency_of(query, key, key.shape[-1] ** -0.5, _has_cls(base))  # [C, n]
        if _has_cls(base) and not drops:
            saliency[:, 0] = saliency[:, 1:].amax(
                dim=1
            )  # the CLS row is a visual token here, and a dominant one
        return saliency[:, int(drops) :].flatten()

    def _place(self, base: Any, capture: VisionCapture, name: str) -> Tensor:
        """Row and column of every patch, and the size of the grid; a CLS row among them counts as the corner."""
        crops, rows, _ = capture.outputs["state"].shape
        side = base.config.vision_config.image_size // base.config.vision_config.patch_size
        grid = torch.tensor([[side, side]], device=capture.outputs["state"].device)
        if name == "grid":
            return grid.expand(crops * (rows - _drops_cls(base)), 2)
        places = grid_places(side, side, grid.device)
        if _has_cls(base) and not _drops_cls(base):
            places = torch.cat([places.new_zeros(1, 2), places])
        return places.repeat(crops, 1)

    def encode(self, base: Any, capture: VisionCapture, crop: int, grid: tuple[int, int]) -> Tensor:
        """The resized picture through the tower with interpolated position embeddings."""
        (args, kwargs), patch = capture.inputs["tower"], base.config.vision_config.patch_size
        pixels = (args[0] if args else kwargs["pixel_values"])[crop : crop + 1]
        small = resize(pixels, (grid[0] * patch, grid[1] * patch))
        options = {
            "interpolate_pos_encoding": True,
            "output_hidden_states": True,
            "return_dict": True,
        }
        hidden = base.vision_tower(small, **options).hidden_states
        chosen = base.config.vision_feature_layer
        layers = [chosen] if isinstance(chosen, int) else chosen
        states = torch.cat([hidden[layer][:, int(_drops_cls(base)) :] for layer in layers], dim=-1)
        return base.multi_modal_projector(states)[0]


def _is_attention(name: str) -> bool:
    return name.endswith(("saliency", "keys"))


def _depth(name: str) -> str:
    """`"early_saliency"` -> `"early_"`; of the layer whose output becomes the features: `""`."""
    return name[: name.rfind("_") + 1]


def _layer(base: Any, depth: str) -> int:
    """Index of the encoder layer that a signal reads.

    hidden_states[0] are the embeddings, so hidden_states[i] leaves layer i - 1. VScan's early layer is 5 where the
    features leave 22; PruMerge's outer layer is the next one, or the same where there is none.
    """
    chosen = base.config.vision_feature_layer
    last = chosen if isinstance(chosen, int) else chosen[-1]
    layers = int(base.config.vision_config.num_hidden_layers)
    used = int(last) % (layers + 1) - 1
    return {"": used, "early_": round(used * 5 / 22), "outer_": min(used + 1, layers - 1)}[depth]


def _encoder(base: Any) -> Any:
    """The encoder's layers; raises MissingSignal for a tower that is built otherwise."""
    layers = getattr(getattr(base.vision_tower, "encoder", None), "layers", None)
    if layers is None or not hasattr(layers[0], "self_attn"):
        raise MissingSignal(
            f"reading the vision tower needs a CLIP-like encoder; {type(base.vision_tower).__name__} is none. Use a "
            "method that reads the projected features only, such as DivPrune, or one within the language model."
        )
    return layers


def _has_cls(base: Any) -> bool:
    return hasattr(getattr(base.vision_tower, "embeddings", None), "class_embedding")


def _drops_cls(base: Any) -> bool:
    """Is there a CLS token that does not become a visual token?"""
    return (
        _has_cls(base)
        and getattr(base.config, "vision_feature_select_strategy", "default") == "default"
    )
