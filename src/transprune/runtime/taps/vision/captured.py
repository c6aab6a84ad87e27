"""What the vision tap captured in all calls of the tower for one prefill."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from transprune.families.base import VisionCapture, VisionRows


@dataclass(frozen=True)
class Captured:
    """All calls of the tower for one prefill.

    Attributes:
        captures: the calls.
        crop_source: crop -> (number of the capture, number of the crop in it).
        rows: [R, D], what the projector put out, over all calls, in the order of the prompt.
        crop: long [R], number of the tower input each row comes from.
        signals: the announced signals, one row per row of `rows`.
        cls: [crops, D], projected CLS states, or None.
        states: [R, V], states in front of the projector, or None.
    """

    captures: list[VisionCapture]
    crop_source: list[tuple[int, int]]
    rows: Tensor
    crop: Tensor
    signals: dict[str, Tensor]
    cls: Tensor | None
    states: Tensor | None


def in_order(values: list[Tensor], parts: list[VisionRows]) -> Tensor:
    """Values of the rows of all calls, [R, ...], in the order of the prompt."""
    ordered = []
    for value, part in zip(values, parts, strict=True):
        ordered.append(value if part.order is None else value[part.order])
    return torch.cat(ordered)


def cat_if_all(parts: list[Tensor | None]) -> Tensor | None:
    """The parts joined, or None if one of them is missing."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def of_patches(signal: Tensor, found: Tensor) -> Tensor:
    """The signal of each patch; elsewhere NaN (scores), 0 (vectors), -1 (whole numbers)."""
    nothing: float = float("nan") if signal.ndim == 1 else 0
    if not signal.is_floating_point():
        nothing = -1

    shape = (-1, *[1] * (signal.ndim - 1))
    return torch.where(found.view(shape), signal, torch.full_like(signal, nothing))


def by_appearance(crop: Tensor) -> tuple[Tensor, Tensor]:
    """Crops [n] renumbered 0, 1, ... in the order of the tokens, and the old number of each [c]."""
    shown, place = crop.unique(return_inverse=True)
    tokens = torch.arange(len(crop), device=crop.device)
    first = torch.full_like(shown, len(crop)).scatter_reduce(0, place, tokens, "amin")
    order = first.argsort()
    return order.argsort()[place], shown[order]
