"""Listening to the vision tower, only for methods that ask.

`generate` encodes the images before the first forward of the model, a plain call encodes them inside it. So what the
taps hear waits here, per thread, until a prefill with as many visual tokens takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import MissingSignal
from transprune.families.base import Family, VisionCapture, VisionRows
from transprune.select import match_rows
from transprune.views import VisionSignals

MAX_WAITING = 8  # captures nobody took, from features encoded outside any forward


class VisionListener:
    """Taps of one model's vision tower."""

    def __init__(self, family: Family, base: nn.Module) -> None:
        self._family, self._base = family, base
        self._tap = family.vision_tap(base)
        self._local = threading.local()

    def attach(self, stack: ExitStack) -> None:
        """Register the taps; leaving `stack` removes them."""
        hook = partial(self._tap.attention.register_forward_pre_hook, with_kwargs=True)
        stack.callback(hook(self._hear_inputs).remove)
        for name, module in self._tap.outputs.items():
            stack.callback(module.register_forward_hook(partial(self._hear_output, name)).remove)
        stack.callback(self._tap.projector.register_forward_hook(self._hear_rows).remove)

    def take(self) -> Callable[[Tensor], VisionSignals]:
        """What was heard since the last prefill, as a function from visual rows [N, D] to their signals."""
        captures, self._local.waiting = self._waiting(), []
        rows: list[VisionRows] = []

        def signals(features: Tensor) -> VisionSignals:
            """Signals of these visual rows; computed for the whole batch when first asked."""
            if not captures:
                raise MissingSignal(
                    "this method reads the vision tower, but the image features were encoded outside the session. "
                    "Pass pixel_values to the call, or encode inside the session."
                )
            if not rows:
                rows.extend(self._silently(self._family.vision_rows, self._base, capture) for capture in captures)
            return _match(features, captures, rows, partial(self._silently, self._tap.projector))

        return signals

    def _waiting(self) -> list[VisionCapture]:
        if not hasattr(self._local, "waiting"):
            self._local.waiting, self._local.current, self._local.deaf = [], VisionCapture(), False
        return self._local.waiting

    def _silently(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run something that calls tapped modules itself (the projector on the CLS state) without hearing it."""
        self._local.deaf = True
        try:
            return call(*args)
        finally:
            self._local.deaf = False

    def _hear_inputs(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._waiting()
        self._local.current.inputs = dict(kwargs)

    def _hear_output(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self._waiting()
        if not self._local.deaf:
            self._local.current.outputs[name] = output[0] if isinstance(output, tuple) else output

    def _hear_rows(self, module: nn.Module, args: Any, output: Tensor) -> None:
        waiting = self._waiting()
        if self._local.deaf:
            return
        capture, self._local.current = self._local.current, VisionCapture()
        capture.rows = output.flatten(0, -2)
        waiting.append(capture)
        del waiting[:-MAX_WAITING]


def _match(
    features: Tensor, captures: list[VisionCapture], rows: list[VisionRows], project: Callable[[Tensor], Tensor]
) -> VisionSignals:
    """Signals of the visual rows `features`, each found again among what the projector put out."""
    source = torch.cat([capture.rows.to(features) for capture in captures if capture.rows is not None])
    first_crop, crops = 0, []
    for part in rows:
        crops.append(part.crop + first_crop)
        first_crop += int(part.crop.max()) + 1
    index = match_rows(features, source)
    found = index >= 0
    if not bool(found.any()):
        raise MissingSignal("none of this prompt's visual tokens came from the last call of the vision tower")
    number, shown = _by_appearance(_same_pictures(source, torch.cat(crops))[index[found]])
    crop = torch.full_like(index, -1).masked_scatter(found, number)
    index = index.clamp(min=0)
    saliency = torch.cat([part.saliency for part in rows])[index].masked_fill(~found, float("nan"))
    keys = torch.cat([part.keys for part in rows])[index] * found[:, None]
    cls = None
    if all(part.cls is not None for part in rows):
        cls = torch.cat([part.cls for part in rows if part.cls is not None])[shown]
    states = None
    if all(part.states is not None for part in rows):
        states = torch.cat([part.states for part in rows if part.states is not None])[index]
    return VisionSignals(saliency, keys, crop, cls, states, None if states is None else project)


def _by_appearance(crop: Tensor) -> tuple[Tensor, Tensor]:
    """Crops [n] renumbered 0, 1, ... in the order in which the tokens show them, and the old number of each [c]."""
    shown, place = crop.unique(return_inverse=True)
    tokens = torch.arange(len(crop), device=crop.device)
    order = torch.full_like(shown, len(crop)).scatter_reduce(0, place, tokens, "amin").argsort()
    return order.argsort()[place], shown[order]


def _same_pictures(source: Tensor, crop: Tensor) -> Tensor:
    """One number for crops of the same picture, the lowest. [R, D], [R] -> [R] long.

    A picture that is in the batch twice (several questions about one image) comes out of the tower twice, alike but for
    rounding, so its rows find themselves now in one copy, now in the other.
    """
    numbers = torch.arange(int(crop.max()) + 1, device=crop.device)
    same = numbers.scatter_reduce(0, crop, crop[match_rows(source, source)], "amin")
    while not torch.equal(same, same[same]):
        same = same[same]
    return same[crop]
