"""Which slots of a prompt are what, read from the call of the outer model before its embeddings are made."""

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
        LayoutError: features without placeholders or in another number, no ids to find them by, or a prompt in chunks.
    """
    if not family.feeds_features(kwargs):
        _check_not_blind(family, base, input_ids, kwargs)
        return None
    if family.in_chunks(kwargs):
        raise LayoutError(
            "this is a chunk of a prompt, and which tokens to keep is decided over a whole one; leave "
            "prefill_chunk_size unset, and pass pixel_values or what get_image_features returned"
        )
    if input_ids is None:
        raise LayoutError(
            "pruning finds the visual tokens by their placeholder ids, but this call passes inputs_embeds only; pass "
            "input_ids with the image features, or run this call outside the session"
        )
    visual = family.visual(base, input_ids)
    total = int(visual.sum())
    if total == 0:
        raise LayoutError(
            "image features were passed, but the prompt has no image placeholders; put the image token into the prompt "
            "(the processor's chat template does), or leave the image out"
        )
    lengths = family.image_lengths(base, kwargs, total)
    if sum(lengths) != total:
        raise LayoutError(
            f"the prompt holds {total} image placeholders, but its images give {sum(lengths)} features"
        )
    return Layout.of_prompt(
        visual, _valid(visual, kwargs.get("attention_mask")), _number_images(visual, lengths)
    )


def _check_not_blind(
    family: Family, base: Any, input_ids: Tensor | None, kwargs: Mapping[str, Any]
) -> None:
    """Refuse the first pass over a prompt that has placeholders, but whose image features were left out.

    Up to 5.22, transformers does so itself when `prefill_chunk_size` is set.
    """
    cache = cache_of(kwargs)
    if input_ids is None or (cache is not None and cache.get_seq_length() > 0):
        return  # a later pass: there the image id is a token the model sampled
    if bool(family.visual(base, input_ids).any()):
        raise LayoutError(
            "the prompt has image placeholders, but no image features came with this call; pass pixel_values, or "
            "leave prefill_chunk_size unset: a chunk of a prompt comes without them"
        )


def ends_with_image(layout: Layout) -> bool:
    """Is the last token of some sample a visual one?"""
    samples = [sample for sample in range(layout.batch) if layout.lengths[sample]]
    return any(bool(layout.visual[sample, layout.rows(sample)[-1]]) for sample in samples)


def _valid(visual: Tensor, attention_mask: Any) -> Tensor:
    """Real tokens, bool [B, L], from a padding mask if there is one; a later turn brings the mask of all turns."""
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        return torch.ones_like(visual)
    return attention_mask[:, -visual.shape[1] :].bool().to(visual.device)


def _number_images(visual: Tensor, lengths: list[int]) -> Tensor:
    """Number of the image each slot belongs to, within its sample; features fill the slots in (batch, slot) order."""
    ends = torch.tensor(lengths, device=visual.device).cumsum(0)
    order = (visual.flatten().cumsum(0) - 1).clamp(min=0)
    image = torch.searchsorted(ends, order, right=True).view_as(visual)
    first = torch.where(visual, image, len(lengths)).amin(dim=1, keepdim=True)
    return image - first
