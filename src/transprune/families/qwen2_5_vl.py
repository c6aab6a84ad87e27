"""Qwen2.5-VL: a windowed tower without CLS, 2 x 2 patches merged into one token, M-RoPE positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

from transprune.families.base import Family, VisionCapture, VisionRows, VisionTap, register_family
from transprune.families.tower import attention_received


@register_family("qwen2_5_vl")
class Qwen2_5_VL(Family):
    """Qwen2.5-VL. Renumbering has no definition under M-RoPE, so positions are always kept."""

    title: ClassVar[str] = "Qwen2.5-VL"
    mrope: ClassVar[bool] = True

    def raw_image_lengths(self, base: Any, kwargs: Mapping[str, Any], total: int) -> list[int]:
        """Patches of each image or video over the merge unit; images before videos only if the prompt has them so."""
        grids = [kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw")]
        if sum(grid is not None for grid in grids) != 1:
            return [total]
        unit = base.config.vision_config.spatial_merge_size**2
        return [int(t * h * w) // unit for grid in grids if grid is not None for t, h, w in grid.tolist()]

    def vision_tap(self, base: Any) -> VisionTap:
        """The last block that sees whole images (the others see windows)."""
        tower = base.visual
        attention = tower.blocks[max(tower.fullatt_block_indexes)].attn
        return VisionTap(attention, {"qkv": attention.qkv}, tower.merger)

    def vision_rows(self, base: Any, capture: VisionCapture) -> VisionRows:
        """Attention received and keys, image by image, averaged over each merged group of patches.

        The four patches of a group are adjacent in the tower's window order, and so are the merger's rows.
        """
        tower = base.visual
        attention: Any = self.vision_tap(base).attention
        unit = tower.spatial_merge_unit
        query, key, _ = capture.outputs["qkv"].unflatten(-1, (3, attention.num_heads, -1)).unbind(1)  # [n, H, d]
        cos, sin = capture.inputs["position_embeddings"]
        query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
        saliency, keys, crop = [], [], []
        bounds = capture.inputs["cu_seqlens"].tolist()
        for image, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
            q, k = (t[start:end].transpose(0, 1) for t in (query, key))  # [H, n, d]
            received = attention_received(q, k, attention.scaling)
            saliency.append(received.view(-1, unit).mean(dim=1))
            keys.append(k.float().mean(dim=0).unflatten(0, (-1, unit)).mean(dim=1))
            crop.append(torch.full((len(saliency[-1]),), image, device=key.device))
        return VisionRows(torch.cat(saliency), torch.cat(keys), torch.cat(crop))
