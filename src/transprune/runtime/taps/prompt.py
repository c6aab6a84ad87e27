"""Find the visual tokens of a prompt, from the call of the outer model.

A call without visual tokens has a reason: there is no picture in it, or pruning could not see one.
The two are told apart, because the second is a mistake that nobody would notice in the answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.library import cache_length, cache_of
from transprune.errors import LayoutError, PruneError, PruneWarning
from transprune.families.base import Family
from transprune.runtime.cache import check_cache
from transprune.runtime.taps.numbering import count_through, number_within_sample, runs
from transprune.runtime.taps.packed import check_one_sample_per_row

NO_IMAGE = "no image in the prompt: ran unpruned"
NO_IDS = (
    "inputs_embeds came without input_ids, so visual tokens could not be found in them: ran "
    "unpruned; pass input_ids and pixel_values, or mm_token_type_ids beside the embeddings"
)
ALONE = (
    "the language model was called by itself, so visual tokens could not be found: ran unpruned; "
    "call the whole model"
)
MASKED = "the attention mask hides every visual token: ran unpruned"


@dataclass(frozen=True)
class Prompt:
    """What one call of the outer model holds.

    Attributes:
        layout: its rows; None where nothing is pruned.
        reason: why nothing is pruned, a sentence; None where there is a layout.
    """

    layout: Layout | None = None
    reason: str | None = None

    def fits(self, rows: Tensor) -> bool:
        """Whether the rows [B, L, ...] that reach the decoder are those of this prompt."""
        return self.layout is None or self.layout.rows_total == rows.shape[1]


def decoder_called_alone(rows: Tensor) -> Prompt:
    """The prompt of a decoder that was given `rows` by somebody else than the outer model."""
    if rows.is_floating_point() and rows.shape[1] > 1:
        warnings.warn(ALONE, PruneWarning, stacklevel=2)
    return Prompt(reason=ALONE)


def read_prompt(
    family: Family,
    base: Any,
    input_ids: Tensor | None,
    kwargs: Mapping[str, Any],
    drafts: int = 0,
) -> Prompt:
    """The layout of a visual prefill, or the reason why there is none.

    A model may *sample* the image id, so in a later turn only a call that merges features counts.
    The last `drafts` tokens are no part of the prompt.

    Raises:
        LayoutError: features without placeholders or in another number, placeholders without
            features, no ids to find them by, several samples in one row, or a prompt in chunks.
    """
    _check_shape(input_ids)
    has_features = family.has_image_inputs(kwargs)
    if not has_features and _later_turn(kwargs):
        return Prompt(reason=NO_IMAGE)

    if has_features and family.is_chunked_prefill(kwargs):
        raise LayoutError(
            "this is a chunk of a prompt, and which tokens to keep is decided over a whole one; "
            "leave prefill_chunk_size unset, and pass pixel_values or what get_image_features "
            "returned"
        )

    masks = _visual_masks(family, base, input_ids, kwargs)
    if masks is None:
        return _without_ids(has_features, kwargs.get("inputs_embeds"))

    # one of the few reads that wait for the device, once per prefill
    totals = {medium: int(mask.sum()) for medium, mask in masks.items()}
    if sum(totals.values()) == 0:
        if has_features:
            _raise_no_placeholders(kwargs)
        return Prompt(reason=NO_IMAGE)

    merged = kwargs.get("inputs_embeds") is not None
    if not has_features and not merged:
        raise LayoutError(
            "the prompt has image placeholders, but no image features came with this call; pass "
            "pixel_values, or leave prefill_chunk_size unset: a chunk of a prompt comes without "
            "them"
        )

    check_cache(cache_of(kwargs))
    layout = _layout(family, base, masks, totals, kwargs, drafts)
    if sum(layout.visual_counts) == 0:
        warnings.warn(MASKED, PruneWarning, stacklevel=2)
        return Prompt(reason=MASKED)
    return Prompt(layout)


def _layout(
    family: Family,
    base: Any,
    masks: Mapping[str, Tensor],
    totals: Mapping[str, int],
    kwargs: Mapping[str, Any],
    drafts: int,
) -> Layout:
    """The layout of a prompt with visual tokens; `masks` are bool [B, L], one per medium."""
    visual = torch.stack(list(masks.values())).any(dim=0)
    number = torch.zeros(visual.shape, dtype=torch.long, device=visual.device)
    images = 0

    # features of one medium fill its own placeholders in order, wherever the others stand
    for medium, mask in masks.items():
        if totals[medium] == 0:
            continue
        lengths = _lengths(family, base, medium, mask, totals[medium], kwargs)
        number = torch.where(mask, count_through(mask, lengths) + images, number)
        images += len(lengths)

    valid = _valid(visual, kwargs)
    check_one_sample_per_row(visual & valid, valid, _past(kwargs), kwargs)
    if bool(visual[:, visual.shape[1] - drafts :].any()):
        drafts = 0  # a picture is no draft
    number = number_within_sample(visual, number, images, sum(map(bool, totals.values())) > 1)
    return Layout.of_prompt(visual, valid, number, drafts)


def _lengths(
    family: Family,
    base: Any,
    medium: str,
    mask: Tensor,
    total: int,
    kwargs: Mapping[str, Any],
) -> list[int]:
    """Visual tokens of each image or video of the batch, `total` of them in the prompt."""
    own = family.of_medium(medium, kwargs)
    if not family.has_image_inputs(own) and kwargs.get("inputs_embeds") is not None:
        return runs(mask)  # merged by the caller, who passes no sizes

    try:
        lengths = family.tokens_per_image(base, own, total)
    except PruneError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise LayoutError(
            f"the {medium} inputs of this call are not as the processor returns them: {error}"
        ) from error
    if not lengths:
        raise LayoutError(
            f"the prompt holds {total} {medium} placeholders, but the {medium} inputs of this call "
            "are empty; pass the pixels of every picture"
        )
    if sum(lengths) != total:
        raise LayoutError(
            f"the prompt holds {total} {medium} placeholders, but its {medium}s give "
            f"{sum(lengths)} features" + (_IN_CACHE if _later_turn(kwargs) else "")
        )
    return lengths


_IN_CACHE = (
    "; pictures of earlier turns are in the cache already, so pass only those that are new in this "
    "turn"
)


def _raise_no_placeholders(kwargs: Mapping[str, Any]) -> None:
    if _later_turn(kwargs):
        raise LayoutError(
            "image features were passed, but the new part of the prompt has no image placeholders"
            + _IN_CACHE
        )
    raise LayoutError(
        "image features were passed, but the prompt has no image placeholders; put the image token "
        "into the prompt (the processor's chat template does), or leave the image out"
    )


def _without_ids(has_features: bool, embeddings: Tensor | None) -> Prompt:
    """A first pass over embeddings: nobody knows which of them are visual."""
    if has_features:
        raise LayoutError(
            "pruning finds the visual tokens by their placeholder ids, but this call passes "
            "inputs_embeds only; pass input_ids with the image features, or run this call outside "
            "the session"
        )
    if embeddings is not None:  # without ids and embeddings the model raises
        warnings.warn(NO_IDS, PruneWarning, stacklevel=2)
    return Prompt(reason=NO_IDS)


def _visual_masks(
    family: Family, base: Any, input_ids: Tensor | None, kwargs: Mapping[str, Any]
) -> dict[str, Tensor] | None:
    """Slots of each medium, bool [B, L]; None where nothing says which slots are visual."""
    if input_ids is not None:
        return family.visual_masks(base, input_ids)
    return family.masks_of_embeddings(kwargs)


def _later_turn(kwargs: Mapping[str, Any]) -> bool:
    """Whether the cache holds earlier tokens."""
    return _past(kwargs) > 0


def _past(kwargs: Mapping[str, Any]) -> int:
    cache = cache_of(kwargs)
    return 0 if cache is None else cache_length(cache)


def _check_shape(input_ids: Any) -> None:
    """Raise LayoutError unless the ids are whole numbers [B, L]."""
    if input_ids is None:
        return
    fits = isinstance(input_ids, Tensor) and input_ids.ndim == 2
    if not fits or input_ids.is_floating_point():
        came = type(input_ids).__name__
        if isinstance(input_ids, Tensor):
            came = f"{input_ids.dtype} of shape {list(input_ids.shape)}"
        raise LayoutError(
            f"input_ids are a tensor of whole numbers [samples, tokens]; got {came}. For one "
            "prompt pass input_ids[None]"
        )


def _valid(visual: Tensor, kwargs: Mapping[str, Any]) -> Tensor:
    """Real tokens, bool [B, L], from a padding mask if there is one."""
    mask = kwargs.get("attention_mask")
    if not isinstance(mask, Tensor):
        return torch.ones_like(visual)
    batch, length = visual.shape
    if mask.ndim != 2:
        _check_square(mask, batch, length, _past(kwargs))
        return torch.ones_like(visual)

    # in a later turn the mask covers all turns
    if mask.shape != (batch, _past(kwargs) + length):
        raise LayoutError(
            f"attention_mask covers the whole prompt, [{batch}, {_past(kwargs) + length}] here; "
            f"got {list(mask.shape)}"
        )
    return mask[:, -length:].bool().to(visual.device)


def _check_square(mask: Tensor, batch: int, length: int, past: int) -> None:
    """Raise LayoutError unless a mask says for every row which keys it may attend to."""
    kind = mask.dtype == torch.bool or mask.is_floating_point()
    rows = mask.ndim == 4 and mask.shape[0] in (1, batch) and mask.shape[2] in (1, length)
    if not kind or not rows or mask.shape[3] != past + length:
        raise LayoutError(
            f"attention_mask is [{batch}, {past + length}], or bool or floating (added to the "
            f"logits) of [{batch} or 1, 1, {length}, {past + length}]; got {mask.dtype} of "
            f"{list(mask.shape)}"
        )
