"""Find the visual tokens of a prompt, from the call of the outer model.

A call without visual tokens has a reason: there is no picture in it, or pruning could not see one.
The two are told apart, because the second is a mistake that nobody would notice in the answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.library import cache_length, cache_of
from transprune.core.prompt import Numbers, PromptTable
from transprune.core.rows import Flags
from transprune.errors import LayoutError, PruneError, PruneWarning
from transprune.families.base import Family
from transprune.families.tilings import WHOLE
from transprune.runtime.cache import check_cache
from transprune.runtime.taps.given import Given
from transprune.runtime.taps.numbering import count_through, number_within_sample, runs
from transprune.runtime.taps.packed import PACKED, check_one_sample_per_row

NO_IMAGE = "no image in the prompt: ran unpruned"
NO_IDS = (
    "inputs_embeds came without input_ids, so visual tokens could not be found in them: ran "
    "unpruned; pass input_ids and pixel_values, or mm_token_type_ids beside the embeddings"
)
ALONE = (
    "the language model was called by itself, so visual tokens could not be found: ran unpruned; "
    "call the whole model"
)
NO_FRAMES = (
    "nothing in this call tells the frames of its video apart; call the model with "
    "pixel_values_videos instead of encoded features (and without beams), or use pool='image', "
    "which takes a whole video as one pool"
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
    if not has_features and _later_turn(kwargs):
        return Prompt(reason=NO_IMAGE)

    if has_features and family.is_chunked_prefill(kwargs):
        raise LayoutError(
            "this is a chunk of a prompt, and which tokens to keep is decided over a whole one; "
            "leave prefill_chunk_size unset, and pass pixel_values or what get_image_features "
            "returned"
        )

    given = Given.of(family, input_ids, kwargs, extra())
    masks = _visual_masks(family, base, given, kwargs)
    if masks is None:
        return _without_ids(has_features, kwargs.get("inputs_embeds"))

    if not any(mask.any() for mask in masks.values()):
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

    rows = next(iter(masks.values()))
    check_cache(cache_of(kwargs), slots=rows.shape[1])
    table = _table(family, base, masks, given, kwargs, drafts, by_frame, tiles)
    if not table.visual.any():
        warnings.warn(MASKED, PruneWarning, stacklevel=2)
        return Prompt(reason=MASKED)
    return Prompt(Layout.of_prompt(table), extra=given.extra)


def _table(
    family: Family,
    base: Any,
    masks: Mapping[str, Flags],
    given: Given,
    kwargs: Mapping[str, Any],
    drafts: int,
    by_frame: bool,
    tiles: bool,
) -> PromptTable:
    """The slots of a prompt with visual tokens; `masks` are [B, L], one per medium."""
    media = {medium: mask for medium, mask in masks.items() if mask.any()}
    visual = np.logical_or.reduce(list(media.values()))
    own = {**kwargs, **given.described, "input_ids": given.ids}

    clips: dict[str, list[int]] = {}
    frames: dict[str, list[int]] = {}
    for medium, mask in media.items():
        clips[medium] = _lengths(family, base, medium, mask, own)
        of_clips = _frames(family, base, medium, mask, own, clips[medium], by_frame)
        frames[medium] = [length for of_clip in of_clips for length in of_clip]

    valid = _valid(visual, given, kwargs)
    seen = visual & valid
    positions = given.positions_of(visual.shape[1])
    if kwargs.get("cu_seq_lens_q") is not None:
        raise LayoutError(PACKED)
    check_one_sample_per_row(
        seen, valid, _past(kwargs), kwargs.get("attention_mask"), given.padding, positions
    )

    clip = _number(visual, media, clips)
    frame = clip if frames == clips else _number(visual, media, frames)
    return PromptTable(
        visual=seen,
        valid=valid,
        image=frame if by_frame else clip,
        device=given.device,
        # a picture is no draft
        drafts=0 if visual[:, visual.shape[1] - drafts :].any() else drafts,
        consecutive=given.positions_are_consecutive(valid),
        ids=None if given.ids is None else given.ids.numpy(),
        clip=clip,
        frame=frame,
        tiling=_tiling(family, base, media, own, clips) if tiles else None,
    )


def _tiling(
    family: Family,
    base: Any,
    media: Mapping[str, Flags],
    kwargs: Mapping[str, Any],
    lengths: Mapping[str, list[int]],
) -> Numbers:
    """How the picture of each slot was cut (`families.tilings`), [B, L]; videos are not cut."""
    found = np.full(next(iter(media.values())).shape, WHOLE, dtype=np.int64)
    if "image" in media:
        mask = media["image"]
        own = family.of_medium("image", kwargs)
        tilings = family.tilings(base, own, torch.from_numpy(mask), lengths["image"])
        found[mask] = np.array(tilings)[count_through(mask, lengths["image"])[mask]]
    return found


def _number(visual: Flags, media: Mapping[str, Flags], lengths: Mapping[str, list[int]]) -> Numbers:
    """Number of the part of each slot within its sample, from the lengths of the parts. [B, L]."""
    number = np.zeros(visual.shape, dtype=np.int64)
    parts = 0
    # features of one medium fill its own placeholders in order, wherever the others stand
    for medium, mask in media.items():
        number = np.where(mask, count_through(mask, lengths[medium]) + parts, number)
        parts += len(lengths[medium])
    return number_within_sample(visual, number, parts, mixed=len(media) > 1)


def _frames(
    family: Family,
    base: Any,
    medium: str,
    mask: Flags,
    kwargs: Mapping[str, Any],
    lengths: list[int],
    needed: bool,
) -> list[list[int]]:
    """Visual tokens of each frame of each image or video; one frame where nothing tells."""
    whole = [[length] for length in lengths]
    if medium != "video":
        return whole

    own = family.of_medium(medium, kwargs)
    frames = family.frames(base, own, torch.from_numpy(mask), lengths)
    if frames is None:
        if needed:
            raise LayoutError(NO_FRAMES)
        return whole
    if [sum(of_video) for of_video in frames] != lengths:
        raise LayoutError(
            f"{family.title} splits videos of {lengths} visual tokens into frames of {frames}; "
            "its `frames` must return parts of exactly these"
        )
    return frames


def _lengths(
    family: Family,
    base: Any,
    medium: str,
    mask: Flags,
    kwargs: Mapping[str, Any],
) -> list[int]:
    """Visual tokens of each image or video of the batch, whose placeholders are `mask` [B, L]."""
    total = int(mask.sum())
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


def _valid(visual: Flags, given: Given, kwargs: Mapping[str, Any]) -> Flags:
    """Real tokens [B, L], from a padding mask if there is one."""
    mask = kwargs.get("attention_mask")
    batch, length = visual.shape
    if given.padding is None:
        if isinstance(mask, Tensor):
            _check_square(mask, batch, length, _past(kwargs))
        return np.ones_like(visual)

    # in a later turn the mask covers all turns
    if given.padding.shape != (batch, _past(kwargs) + length):
        raise LayoutError(
            f"attention_mask covers the whole prompt, [{batch}, {_past(kwargs) + length}] here; "
            f"got {list(given.padding.shape)}"
        )
    return given.padding[:, -length:].astype(bool)


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
