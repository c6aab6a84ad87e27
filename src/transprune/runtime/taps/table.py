"""The table of a prompt: what each slot holds, and of which picture it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transprune.core.library import past_length
from transprune.core.prompt import Numbers, PromptTable
from transprune.core.rows import Flags
from transprune.errors import LayoutError
from transprune.runtime.taps.given import Given
from transprune.runtime.taps.numbering import count_through, number_within_sample
from transprune.runtime.taps.packed import PACKED, check_one_sample_per_row
from transprune.runtime.taps.pictures import Pictures


def make_table(
    pictures: Pictures,
    given: Given,
    kwargs: Mapping[str, Any],
    drafts: int,
    by_frame: bool,
    tiles: bool,
) -> PromptTable:
    """The slots of a prompt with visual tokens.

    Args:
        pictures: what the family says of them.
        given: small arguments of the call, on the host.
        kwargs: arguments of the call.
        drafts: newest tokens that are no part of the prompt.
        by_frame: every frame of a video counts as an image of its own.
        tiles: note how pictures were cut.

    Raises:
        LayoutError: pictures that do not fit the placeholders, a mask that does not fit the prompt,
            or several samples in one row.
    """
    media = pictures.media
    visual = np.logical_or.reduce(list(media.values()))

    clips: dict[str, list[int]] = {}
    frames: dict[str, list[int]] = {}
    for medium in media:
        clips[medium] = pictures.lengths(medium)
        of_clips = pictures.frames(medium, clips[medium], by_frame)
        frames[medium] = [length for of_clip in of_clips for length in of_clip]

    valid = _valid(visual, given, kwargs)
    seen = visual & valid
    _check_rows(seen, valid, given, kwargs)

    clip = _number(visual, media, clips)
    frame = clip if frames == clips else _number(visual, media, frames)
    # a picture is no draft
    pictures_in_drafts = visual[:, visual.shape[1] - drafts :].any()

    return PromptTable(
        visual=seen,
        valid=valid,
        image=frame if by_frame else clip,
        device=given.device,
        drafts=0 if pictures_in_drafts else drafts,
        consecutive=given.positions_are_consecutive(valid),
        ids=None if given.ids is None else given.ids.numpy(),
        clip=clip,
        frame=frame,
        tiling=pictures.tiling(clips) if tiles else None,
    )


def _number(visual: Flags, media: Mapping[str, Flags], lengths: Mapping[str, list[int]]) -> Numbers:
    """Number of the part of each slot within its sample, from the lengths of the parts. [B, L]."""
    number = np.zeros(visual.shape, dtype=np.int64)
    parts = 0

    # features of one medium fill its own placeholders in order, wherever the others stand
    for medium, mask in media.items():
        number = np.where(mask, count_through(mask, lengths[medium]) + parts, number)
        parts += len(lengths[medium])

    return number_within_sample(visual, number, parts, mixed=len(media) > 1)


def _check_rows(seen: Flags, valid: Flags, given: Given, kwargs: Mapping[str, Any]) -> None:
    """Raise LayoutError if a row [L] of `seen` visual tokens holds several samples."""
    # lengths of packed samples, which only FlashAttention takes
    if kwargs.get("cu_seq_lens_q") is not None:
        raise LayoutError(PACKED)

    positions = given.positions_of(valid.shape[1])
    mask = kwargs.get("attention_mask")
    check_one_sample_per_row(seen, valid, past_length(kwargs), mask, given.padding, positions)


def _valid(visual: Flags, given: Given, kwargs: Mapping[str, Any]) -> Flags:
    """Real tokens [B, L], from a padding mask if there is one."""
    mask = kwargs.get("attention_mask")
    past = past_length(kwargs)
    batch, length = visual.shape
    if given.padding is None:
        if isinstance(mask, Tensor):
            _check_square(mask, batch, length, past)
        return np.ones_like(visual)

    # in a later turn the mask covers all turns
    if given.padding.shape != (batch, past + length):
        raise LayoutError(
            f"attention_mask covers the whole prompt, [{batch}, {past + length}] here; "
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
