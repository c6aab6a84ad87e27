"""Number the images of a prompt by its placeholders. Everything here is on the host."""

from __future__ import annotations

import itertools

import numpy as np

from transprune.core.prompt import Numbers
from transprune.core.rows import Flags


def runs(mask: Flags) -> list[int]:
    """Lengths of the uninterrupted runs of placeholders, sample by sample."""
    lengths = []
    for row in mask.tolist():
        for is_visual, run in itertools.groupby(row):
            if is_visual:
                lengths.append(len(list(run)))
    return lengths


def count_through(visual: Flags, lengths: list[int]) -> Numbers:
    """Number of the image each slot belongs to, counted over the batch. -> [B, L].

    Features fill the slots in (batch, slot) order.
    """
    # image i ends in front of the ends[i]-th placeholder of the batch
    ends = np.cumsum(lengths)
    order = np.maximum(visual.ravel().cumsum() - 1, 0)
    return np.searchsorted(ends, order, side="right").reshape(visual.shape)


def number_within_sample(visual: Flags, number: Numbers, images: int, mixed: bool) -> Numbers:
    """Numbers 0, 1, ... of the images of each sample in the order of its prompt. [B, L].

    Args:
        visual: slots of visual tokens [B, L].
        number: number of the image of each slot in the batch [B, L].
        images: of the whole batch.
        mixed: there are images and videos, so `number` does not follow the prompt.
    """
    if not mixed:
        return number - np.where(visual, number, images).min(axis=1, keepdims=True)

    batch, length = visual.shape
    column = np.where(visual, number, images)

    # first slot of every image of the batch in every sample; the length where it has none
    first = np.full((batch, images + 1), length)
    samples = np.broadcast_to(np.arange(batch)[:, None], visual.shape)
    slots = np.broadcast_to(np.arange(length), visual.shape)
    np.minimum.at(first, (samples, column), slots)
    first[:, images] = length  # text

    rank = first.argsort(axis=1, kind="stable").argsort(axis=1)
    return np.take_along_axis(rank, column, axis=1)
