"""Find the visual tokens of a prompt, from the call of the outer model.

A call without visual tokens has a reason: there is no picture in it, or pruning could not see one.
The two are told apart, because the second is a mistake that nobody would notice in the answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.library import cache_of, past_length
from transprune.core.rows import Flags
from transprune.errors import LayoutError, PruneWarning
from transprune.families.base import Family
from transprune.runtime.cache import check_cache
from transprune.runtime.taps.given import Given
from transprune.runtime.taps.pictures import IN_CACHE, Pictures
from transprune.runtime.taps.table import make_table

NO_IMAGE = "no image in the prompt: ran unpruned"
NO_IDS = (
    "inputs_embeds came without input_ids, so visual tokens could not be found in them: ran "
    "unpruned; pass input_ids and pixel_values, or mm_token_type_ids beside the embeddings"
)
ALONE = (
    "the language model was called by itself, so visual tokens could not be found: ran unpruned; "
    "call the whole model"
)
CHUNK = (
    "this is a chunk of a prompt, and which tokens to keep is decided over a whole one; leave "
    "prefill_chunk_size unset, and pass pixel_values or what get_image_features returned"
)
NO_FEATURES = (
    "the prompt has image placeholders, but no image features came with this call; pass "
    "pixel_values, or leave prefill_chunk_size unset: a chunk of a prompt comes without them"
)
MASKED = "the attention mask hides every visual token: ran unpruned"


@dataclass(frozen=True)
class Prompt:
    """What one call of the outer model holds.

    Attributes:
        layout: its rows; None where nothing is pruned.
        reason: why nothing is pruned, a sentence; None where there is a layout.
        extra: what was copied along with a prompt that is pruned.
    """

    layout: Layout | None = None
    reason: str | None = None
    extra: Sequence[NDArray[Any]] = ()

    def asked_by(self, tokens: int) -> Prompt:
        """The same prompt with the last `tokens` of each sample as its instruction; 0 for no change."""
        if not tokens or self.layout is None:
            return self
        table = replace(self.layout.prompt, asked=tokens)
        return replace(self, layout=Layout.of_prompt(table))

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
    extra: Callable[[], list[Tensor]] = list,
    by_frame: bool = False,
    tiles: bool = False,
) -> Prompt:
    """The layout of a visual prefill, or the reason why there is none.

    A model may *sample* the image id, so in a later turn only a call that merges features counts.
    The last `drafts` tokens are no part of the prompt. What `extra` returns is copied to
    the host with the ids; a step of decoding never asks. With `by_frame` every frame of a video
    counts as an image of its own (`pool="frame"`). With `tiles` it is noted how pictures were cut.

    Raises:
        LayoutError: features without placeholders or in another number, placeholders without
            features, no ids to find them by, several samples in one row, a prompt in chunks, or
            frames that are asked for and cannot be told apart.
    """
    _check_shape(input_ids)
    has_features = family.has_image_inputs(kwargs)
    # in a later turn the model may have sampled the image id itself
    if not has_features and past_length(kwargs) > 0:
        return Prompt(reason=NO_IMAGE)

    if has_features and family.is_chunked_prefill(kwargs):
        raise LayoutError(CHUNK)

    given = Given.of(family, input_ids, kwargs, extra())
    masks = _visual_masks(family, base, given, kwargs)
    if masks is None:
        return _without_ids(has_features, kwargs.get("inputs_embeds"))

    if not any(mask.any() for mask in masks.values()):
        if has_features:
            _raise_no_placeholders(kwargs)
        return Prompt(reason=NO_IMAGE)

    # the caller may have put the features into the embeddings already
    merged = kwargs.get("inputs_embeds") is not None
    if not has_features and not merged:
        raise LayoutError(NO_FEATURES)

    rows = next(iter(masks.values()))
    check_cache(cache_of(kwargs), slots=rows.shape[1])

    # a medium without slots has no numbers that could be asked of the family
    media = {medium: mask for medium, mask in masks.items() if mask.any()}
    described = {**kwargs, **given.described, "input_ids": given.ids}
    pictures = Pictures(family, base, described, media)
    table = make_table(pictures, given, kwargs, drafts, by_frame, tiles)

    if not table.visual.any():
        warnings.warn(MASKED, PruneWarning, stacklevel=2)
        return Prompt(reason=MASKED)
    return Prompt(Layout.of_prompt(table), extra=given.extra)


def _raise_no_placeholders(kwargs: Mapping[str, Any]) -> None:
    if past_length(kwargs) > 0:
        raise LayoutError(
            "image features were passed, but the new part of the prompt has no image placeholders"
            + IN_CACHE
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
    family: Family, base: Any, given: Given, kwargs: Mapping[str, Any]
) -> dict[str, Flags] | None:
    """Slots of each medium [B, L]; None where nothing says which slots are visual."""
    if given.ids is not None:
        masks = family.visual_masks(base, given.ids)
    else:
        found = family.masks_of_embeddings({**kwargs, **given.described})
        if found is None:
            return None
        masks = found

    return {medium: mask.numpy() for medium, mask in masks.items()}


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
