"""Find the visual tokens of a prompt, from the call of the outer model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.library import cache_of
from transprune.errors import LayoutError
from transprune.families.base import Family


def read_prompt(
    family: Family, base: Any, input_ids: Tensor | None, kwargs: Mapping[str, Any]
) -> Layout | None:
    """The layout of a visual prefill; None for any other call.

    A model may *sample* the image id, so only a call that merges features counts.

    Raises:
        LayoutError: features without placeholders or in another number, placeholders without
            features, no ids to find them by, or a prompt in chunks.
    """
    if not family.has_image_inputs(kwargs):
        _check_placeholders(family, base, input_ids, kwargs)
        return None
    if family.is_chunked_prefill(kwargs):
        raise LayoutError(
            "this is a chunk of a prompt, and which tokens to keep is decided over a whole one; "
            "leave prefill_chunk_size unset, and pass pixel_values or what get_image_features "
            "returned"
        )
    if input_ids is None:
        raise LayoutError(
            "pruning finds the visual tokens by their placeholder ids, but this call passes "
            "inputs_embeds only; pass input_ids with the image features, or run this call outside "
            "the session"
        )

    visual = family.visual_mask(base, input_ids)
    # one of the few reads that wait for the device, once per prefill
    total = int(visual.sum())
    if total == 0:
        raise LayoutError(
            "image features were passed, but the prompt has no image placeholders; put the image "
            "token into the prompt (the processor's chat template does), or leave the image out"
        )

    lengths = family.tokens_per_image(base, kwargs, total)
    if sum(lengths) != total:
        raise LayoutError(
            f"the prompt holds {total} image placeholders, but its images give {sum(lengths)} "
            "features"
        )

    valid = _valid(visual, kwargs.get("attention_mask"))
    return Layout.of_prompt(visual, valid, _number_images(visual, lengths))


def _check_placeholders(
    family: Family, base: Any, input_ids: Tensor | None, kwargs: Mapping[str, Any]
) -> None:
    """Refuse a first pass over a prompt with placeholders but without image features.

    Up to 5.22, transformers makes such calls itself when `prefill_chunk_size` is set.
    """
    cache = cache_of(kwargs)
    later = cache is not None and cache.get_seq_length() > 0
    if input_ids is None or later:
        return  # in a later pass the image id is a token the model sampled

    if bool(family.visual_mask(base, input_ids).any()):
        raise LayoutError(
            "the prompt has image placeholders, but no image features came with this call; pass "
            "pixel_values, or leave prefill_chunk_size unset: a chunk of a prompt comes without "
            "them"
        )


def _valid(visual: Tensor, attention_mask: Any) -> Tensor:
    """Real tokens, bool [B, L], from a padding mask if there is one."""
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        return torch.ones_like(visual)
    # in a later turn the mask covers all turns
    return attention_mask[:, -visual.shape[1] :].bool().to(visual.device)


def _number_images(visual: Tensor, lengths: list[int]) -> Tensor:
    """Number of the image each slot belongs to, within its sample. -> long [B, L].

    Features fill the slots in (batch, slot) order.
    """
    # image i ends in front of the ends[i]-th placeholder of the batch
    ends = torch.tensor(lengths, device=visual.device).cumsum(0)
    order = (visual.flatten().cumsum(0) - 1).clamp(min=0)
    image = torch.searchsorted(ends, order, right=True).view_as(visual)

    # numbers start at 0 in each sample
    first = torch.where(visual, image, len(lengths)).amin(dim=1, keepdim=True)
    return image - first
