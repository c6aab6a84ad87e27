"""Number the images of a prompt by its placeholders."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def runs(mask: Tensor) -> list[int]:
    """Lengths of the uninterrupted runs of placeholders, sample by sample."""
    lengths = []
    for row in mask.tolist():
        for is_visual, run in itertools.groupby(row):
            if is_visual:
                lengths.append(len(list(run)))
    return lengths


def count_through(visual: Tensor, lengths: list[int]) -> Tensor:
    """Number of the image each slot belongs to, counted over the batch. -> long [B, L].

    Features fill the slots in (batch, slot) order.
    """
    # image i ends in front of the ends[i]-th placeholder of the batch
    ends = torch.tensor(lengths, dtype=torch.long, device=visual.device).cumsum(0)
    order = (visual.flatten().cumsum(0) - 1).clamp(min=0)
    return torch.searchsorted(ends, order, right=True).view_as(visual)


def number_within_sample(visual: Tensor, number: Tensor, images: int, mixed: bool) -> Tensor:
    """Numbers 0, 1, ... of the images of each sample in the order of its prompt. long [B, L].

    Args:
        visual: slots of visual tokens, bool [B, L].
        number: number of the image of each slot in the batch, long [B, L].
        images: of the whole batch.
        mixed: there are images and videos, so `number` does not follow the prompt.
    """
    batch, length = visual.shape
    if not mixed:
        return number - torch.where(visual, number, images).amin(dim=1, keepdim=True)

    slots = torch.arange(length, device=visual.device).expand(batch, length)

    # first slot of every image of the batch in every sample; the length where it has none
    first = torch.full((batch, images + 1), length, dtype=torch.long, device=visual.device)
    column = torch.where(visual, number, images)
    first = first.scatter_reduce(1, column, slots, "amin")
    first[:, images] = length  # text

    rank = first.argsort(dim=1, stable=True).argsort(dim=1)
    return rank.gather(1, column)
