"""Listening to the vision tower, only for methods that ask.

`generate` encodes the images before the first forward of the model, a plain call encodes them inside it. So what the
taps hear waits here, per thread, until a prefill with as many visual tokens takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.algebra.select import match_rows
from transprune.core.signals import SIGNALS, VisionSignals
from transprune.errors import MethodError, MissingSignal
from transprune.families.base import Family, VisionCapture


@dataclass(frozen=True)
class _Heard:
    """All calls of the tower for one prefill: what `VisionRows` has, the announced signals, and each crop's home."""

    captures: list[VisionCapture]
    homes: list[tuple[int, int]]  # crop -> (number of the capture, number of the crop in it)
    source: Tensor
    crop: Tensor
    signals: dict[str, Tensor]
    cls: Tensor | None
    states: Tensor | None


MAX_WAITING = 8  # captures nobody took, from features encoded outside any forward


class VisionListener:
    """Taps of one model's vision tower for the signals some method announced (`transprune.core.signals`)."""

    def __init__(self, family: Family, base: nn.Module, signals: Collection[str]) -> None:
        if unknown := sorted(set(signals) - set(SIGNALS)):
            raise MethodError(
                f"`reads` takes of the vision tower {', '.join(SIGNALS)}; got {', '.join(unknown)}"
            )
        self._family, self._base, self._signals = family, base, frozenset(signals)
        self._tap = family.vision_tap(base, self._signals)
        self._local = threading.local()

    def attach(self, stack: ExitStack) -> None:
        """Register the taps; leaving `stack` removes them."""
        for name, module in self._tap.inputs.items():
            hook = partial(self._hear_inputs, name)
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for name, module in self._tap.outputs.items():
            stack.callback(module.register_forward_hook(partial(self._hear_output, name)).remove)
        stack.callback(self._tap.projector.register_forward_hook(self._hear_rows).remove)

    def take(self) -> Callable[[Tensor], VisionSignals]:
        """What was heard since the last prefill, as a function from visual rows [N, D] to their signals."""
        captures, self._local.waiting = self._waiting(), []
        heard: list[_Heard] = []

        def signals(features: Tensor) -> VisionSignals:
            """Signals of these visual rows; computed for the whole batch when first asked."""
            if not captures:
                raise MissingSignal(
                    "this method reads the vision tower, but the image features were encoded outside the session. "
                    "Pass pixel_values to the call, or encode inside the session."
                )
            if not heard:
                heard.append(self._put_together(captures))
            return self._match(features, heard[0])

        return signals

    def _put_together(self, captures: list[VisionCapture]) -> _Heard:
        """Everything announced, row by row, over all calls of the tower."""
        family, base = self._family, self._base
        rows = [self._silently(family.vision_rows, base, capture) for capture in captures]
        names = sorted(self._signals - {"picture"})
        signals = {
            name: torch.cat(
                [self._silently(family.vision_signal, base, capture, name) for capture in captures]
            )
            for name in names
        }
        homes: list[tuple[int, int]] = []
        crops: list[Tensor] = []
        for number, part in enumerate(rows):
            crops.append(part.crop + len(homes))
            homes += [(number, crop) for crop in range(int(part.crop.max()) + 1)]
        source = torch.cat([capture.rows for capture in captures if capture.rows is not None])
        cls, states = (
            _joined([getattr(part, name) for part in rows]) for name in ("cls", "states")
        )
        return _Heard(captures, homes, source, torch.cat(crops), signals, cls, states)

    def _match(self, features: Tensor, heard: _Heard) -> VisionSignals:
        """Signals of the visual rows `features`, each found again among what the projector put out."""
        source = heard.source.to(features)
        index = match_rows(features, source)
        found = index >= 0
        if not bool(found.any()):
            raise MissingSignal(
                "none of this prompt's visual tokens came from the last call of the vision tower"
            )
        number, shown = _by_appearance(_same_pictures(source, heard.crop)[index[found]])
        crop = torch.full_like(index, -1).masked_scatter(found, number)
        rows = index.clamp(min=0)
        encode = (
            partial(self._encode, heard, shown.tolist()) if "picture" in self._signals else None
        )
        return VisionSignals(
            crop=crop,
            signals={
                name: _of_patches(signal[rows], found) for name, signal in heard.signals.items()
            },
            cls=None if heard.cls is None else heard.cls[shown],
            states=None if heard.states is None else heard.states[rows],
            project=None if heard.states is None else partial(self._silently, self._tap.projector),
            encode=encode,
        )

    def _encode(
        self, heard: _Heard, shown: list[int], crop: int, rows: int, columns: int
    ) -> Tensor:
        number, own = heard.homes[shown[crop]]
        features = self._silently(
            self._family.encode, self._base, heard.captures[number], own, (rows, columns)
        )
        assert isinstance(features, Tensor)
        return features

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

    def _hear_inputs(self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._waiting()
        if not self._local.deaf:
            self._local.current.inputs[name] = (args, dict(kwargs))

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


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _of_patches(signal: Tensor, found: Tensor) -> Tensor:
    """The signal where there is a patch; elsewhere NaN (scores), 0 (vectors) or -1 (whole numbers)."""
    nothing = 0 if signal.ndim > 1 else float("nan")
    nothing = nothing if signal.is_floating_point() else -1
    return torch.where(
        found.view(-1, *[1] * (signal.ndim - 1)), signal, torch.full_like(signal, nothing)
    )


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
