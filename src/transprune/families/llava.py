"""LLaVA-1.5 and everything built as `LlavaForConditionalGeneration`: one tower, a projector, a Llama-like decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.base import Family, VisionCapture, VisionRows, VisionTap, register_family
from transprune.families.tower import attention_received, attention_row


@register_family("llava")
class Llava(Family):
    """LLaVA-1.5: a CLIP (or SigLIP) tower whose patches are projected one by one."""

    title: ClassVar[str] = "LLaVA-1.5"

    def raw_image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Every image has the same number of patches."""
        images = len(kwargs["pixel_values"])
        return [total // images] * images

    def vision_tap(self, base: Any) -> VisionTap:
        """The attention inside the layer whose output becomes the features (`vision_feature_layer`)."""
        tower = base.vision_tower
        encoder = getattr(tower, "encoder", None)
        layers = getattr(encoder, "layers", None)
        if layers is None or not hasattr(layers[0], "self_attn"):
            raise MissingSignal(
                f"reading the vision tower needs a CLIP-like encoder; {type(tower).__name__} is none. Use a method "
                "that reads the projected features only, such as DivPrune, or one within the language model."
            )
        # hidden_states[0] are the embeddings, so hidden_states[i] leaves layer i - 1
        layer = layers[_hidden_index(base) - 1]
        attention = layer.self_attn
        outputs = {"query": attention.q_proj, "key": attention.k_proj, "state": layer}
        return VisionTap(attention, outputs, base.multi_modal_projector)

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """CLS attention and keys per patch; without a CLS token, the mean attention a patch receives."""
        tower = base.vision_tower
        attention: Any = self.vision_tap(base).attention
        heads, scale = attention.num_heads, attention.scale
        query, key = (_heads(capture.outputs[name], heads) for name in ("query", "key"))  # [C, H, n, d]
        has_cls = hasattr(getattr(tower, "embeddings", None), "class_embedding")
        drops_cls = has_cls and getattr(base.config, "vision_feature_select_strategy", "default") == "default"
        if has_cls:
            saliency = attention_row(query[:, :, 0], key, scale)  # [C, n]
        else:
            saliency = torch.stack([attention_received(q, k, scale) for q, k in zip(query, key, strict=True)])
        keys = key.float().mean(dim=1)  # [C, n, d]
        single = isinstance(base.config.vision_feature_layer, int)  # else several layers' states are concatenated
        states = capture.outputs["state"] if single else None
        if drops_cls:
            saliency, keys = saliency[:, 1:], keys[:, 1:]
        elif has_cls:
            saliency[:, 0] = saliency[:, 1:].amax(dim=1)  # the CLS row is a visual token here, and a dominant one
        crops, patches = saliency.shape
        crop = torch.arange(crops, device=saliency.device).repeat_interleave(patches)
        cls = None
        if states is not None and drops_cls:
            cls, states = base.multi_modal_projector(states[:, :1])[:, 0], states[:, 1:]
        states = None if states is None else states.flatten(0, 1)
        return VisionRows(saliency.flatten(), keys.flatten(0, 1), crop, cls, states)


def _hidden_index(base: Any) -> int:
    """`vision_feature_layer` as an index into `hidden_states` counted from the front; the last one of a list."""
    chosen = base.config.vision_feature_layer
    last = chosen if isinstance(chosen, int) else chosen[-1]
    total = base.config.vision_config.num_hidden_layers + 1
    return int(last) % total


def _heads(projected: Tensor, heads: int) -> Tensor:
    """[C, n, H * d] -> [C, H, n, d]."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)
