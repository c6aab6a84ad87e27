"""What the vision tap captured in all calls of the tower for one prefill.

Numbers (which picture, which place) are arrays on the host; what was computed by the tower stays on
the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.prompt import Numbers
from transprune.core.rows import Rows, upload
from transprune.families.base import VisionCapture, VisionRows
from transprune.runtime.host import to_host

LOOKS = "looks"  # name of the small pictures among what a capture has on the host
NUMBERS = ("place", "grid")  # whole numbers, which families give on the host


@dataclass(frozen=True)
class Captured:
    """All calls of the tower for one prefill.

    Attributes:
        captures: the calls.
        crop_source: crop -> (number of the capture, number of the crop in it).
        crop: [R], number of the tower input each row of the projector comes from. Rows are counted
            over all calls, in the order of the prompt.
        arrays: the announced whole numbers (`"place"`, `"grid"`), one row per row of the projector.
        signals: the other announced signals.
        cls: [crops, D], projected CLS states, or None.
        states: [R, V], states in front of the projector, or None.
        looks: [crops, channels, n, n], small pictures of the crops, on the host, or None.
    """

    captures: list[VisionCapture]
    crop_source: list[tuple[int, int]]
    crop: Numbers
    arrays: dict[str, Numbers]
    signals: dict[str, Tensor]
    cls: Tensor | None
    states: Tensor | None
    looks: NDArray[Any] | None = None


def copy_to_host(
    hashes: list[Tensor], captures: list[VisionCapture], wanted: list[dict[str, Tensor]]
) -> list[Numbers]:
    """Copy the hashes, and with them the numbers `wanted` of each call, which stay in its capture."""
    flat = [tensor for of_call in wanted for tensor in of_call.values()]
    arrays = to_host([*hashes, *flat])

    numbers = iter(arrays[len(hashes) :])
    for capture, of_call in zip(captures, wanted, strict=True):
        capture.on_host = {name: next(numbers) for name in of_call}
    return arrays[: len(hashes)]


def join_calls(
    captures: list[VisionCapture], parts: list[VisionRows], values: dict[str, list[Tensor]]
) -> Captured:
    """All calls of the tower as one; `values` are the signals of each call by name."""
    signals = {}
    arrays = {}
    for name, of_calls in values.items():
        if name in NUMBERS:
            arrays[name] = arrays_in_order(of_calls, parts)
        else:
            signals[name] = in_order(of_calls, parts)

    # each call of the tower counts its crops from 0; here they are numbered through
    crop_source: list[tuple[int, int]] = []
    crops: list[Tensor] = []
    for number, part in enumerate(parts):
        crops.append(part.crop + len(crop_source))
        count = int(array_of(part.crop).max()) + 1
        crop_source += [(number, crop) for crop in range(count)]

    looks = [capture.on_host[LOOKS] for capture in captures if LOOKS in capture.on_host]
    states = [part.states for part in parts if part.states is not None]

    return Captured(
        captures=captures,
        crop_source=crop_source,
        crop=arrays_in_order(crops, parts),
        arrays=arrays,
        signals=signals,
        cls=cat_if_all([part.cls for part in parts]),
        states=in_order(states, parts) if len(states) == len(parts) else None,
        looks=np.concatenate(looks) if looks and len(looks) == len(parts) else None,
    )


def array_of(numbers: Tensor) -> NDArray[Any]:
    """Numbers that families give on the host; a copy of those that somebody's family does not."""
    (array,) = to_host([numbers])
    return array


def in_order(values: list[Tensor], parts: list[VisionRows]) -> Tensor:
    """Values of the rows of all calls, [R, ...], in the order of the prompt."""
    ordered = []
    for value, part in zip(values, parts, strict=True):
        if part.order is not None:
            value = value[upload(array_of(part.order), value.device)]
        ordered.append(value)
    return torch.cat(ordered) if len(ordered) > 1 else ordered[0]


def arrays_in_order(values: list[Tensor], parts: list[VisionRows]) -> Numbers:
    """The same for whole numbers, on the host."""
    ordered = []
    for value, part in zip(values, parts, strict=True):
        array = array_of(value)
        ordered.append(array if part.order is None else array[array_of(part.order)])
    return np.concatenate(ordered)


def cat_if_all(parts: list[Tensor | None]) -> Tensor | None:
    """The parts joined, or None if one of them is missing."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def rows_at(index: Numbers, device: torch.device) -> Rows:
    """Rows `index` of a table: a slice where they follow each other."""
    if len(index) and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return upload(index, device)


def of_patches(signal: Tensor, found: NDArray[np.bool_]) -> Tensor:
    """The signal of each patch; elsewhere NaN (scores) or 0 (vectors)."""
    if found.all():
        return signal
    shape = (-1, *[1] * (signal.ndim - 1))
    nothing: float = float("nan") if signal.ndim == 1 else 0
    return signal.masked_fill(~upload(found, signal.device).view(shape), nothing)


def by_appearance(crop: Numbers) -> tuple[Numbers, Numbers]:
    """Crops [n] renumbered 0, 1, ... in the order of the tokens, and the old number of each [c]."""
    shown, first, place = np.unique(crop, return_index=True, return_inverse=True)
    order = first.argsort()
    return order.argsort()[place], shown[order]
