"""Signals of the vision tower, for the methods that announce them.

`generate` encodes the images before the first forward of the model, a plain call encodes them
inside it. So captures wait here, per thread, until the next prefill takes them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.algebra.select import match_rows
from transprune.core.signals import SIGNALS, VisionSignals
from transprune.errors import MethodError, MissingSignal
from transprune.families.base import Family, VisionCapture, VisionRows
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import Setup, Signals, Tap

SIGNAL = "vision"
MAX_WAITING = 8  # captures that no prefill took, of features encoded outside any forward


@dataclass(frozen=True)
class _Captured:
    """All calls of the tower for one prefill.

    Attributes:
        captures: the calls.
        crop_source: crop -> (number of the capture, number of the crop in it).
        rows: [R, D], what the projector put out, over all calls.
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


class VisionTap(Tap):
    """Captures the announced signals (`transprune.core.signals`) in the vision tower."""

    def __init__(self, family: Family, base: nn.Module, signals: Collection[str]) -> None:
        unknown = sorted(set(signals) - set(SIGNALS))
        if unknown:
            raise MethodError(
                f"`reads` takes of the vision tower {', '.join(SIGNALS)}; got {', '.join(unknown)}"
            )

        self._family = family
        self._base = base
        self._signals = frozenset(signals)
        self._points = family.vision_tap_points(base, self._signals)
        self._local = threading.local()

    @classmethod
    def needed(cls, setup: Setup) -> VisionTap | None:
        """If some part reads the tower."""
        signals = {name for step in setup.method.steps for name in step.reads.vision}
        return cls(setup.family, setup.base, signals) if signals else None

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks at the points the family names."""
        for name, module in self._points.inputs.items():
            hooks.before(module, partial(self._capture_inputs, name))
        for name, module in self._points.outputs.items():
            hooks.after(module, partial(self._capture_output, name))
        hooks.after(self._points.projector, self._capture_rows)

    def begin(self, state: Pass) -> None:
        """Take what was captured since the last prefill."""
        state.captured[SIGNAL] = self._take()

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Signals of the pool's rows, found in the projector's output."""
        match = state.captured[SIGNAL]
        signals[SIGNAL] = lambda pool: match(pool.states)

    def _take(self) -> Callable[[Tensor], VisionSignals]:
        """The waiting captures, as a function from visual rows [N, D] to their signals."""
        captures = self._waiting()
        self._local.waiting = []
        joined: list[_Captured] = []

        def match(features: Tensor) -> VisionSignals:
            """Signals of these visual rows; computed for the whole batch at the first call."""
            if not captures:
                raise MissingSignal(
                    "this method reads the vision tower, but the image features were encoded "
                    "outside the session. Pass pixel_values to the call, or encode inside the "
                    "session."
                )

            if not joined:
                joined.append(self._join(captures))
            return self._match(features, joined[0])

        return match

    def _join(self, captures: list[VisionCapture]) -> _Captured:
        """Everything announced, row by row, over all calls of the tower."""
        family = self._family
        base = self._base
        parts: list[VisionRows] = []
        for capture in captures:
            parts.append(self._untapped(family.vision_rows, base, capture))

        signals = {}
        for name in sorted(self._signals - {"picture"}):
            values = [self._untapped(family.vision_signal, base, c, name) for c in captures]
            signals[name] = torch.cat(values)

        # each call of the tower counts its crops from 0; here they are numbered through
        crop_source: list[tuple[int, int]] = []
        crops: list[Tensor] = []
        for number, part in enumerate(parts):
            crops.append(part.crop + len(crop_source))
            crop_source += [(number, crop) for crop in range(int(part.crop.max()) + 1)]

        rows = [capture.rows for capture in captures if capture.rows is not None]
        cls = [part.cls for part in parts]
        states = [part.states for part in parts]
        return _Captured(
            captures=captures,
            crop_source=crop_source,
            rows=torch.cat(rows),
            crop=torch.cat(crops),
            signals=signals,
            cls=_cat_if_all(cls),
            states=_cat_if_all(states),
        )

    def _match(self, features: Tensor, captured: _Captured) -> VisionSignals:
        """Signals of the visual rows `features`, found again in the projector's output."""
        source = captured.rows.to(features)
        # by content: a family may crop, reorder, repeat or interleave rows on the way into the
        # prompt, and newline tokens never came from the projector
        index = match_rows(features, source)
        found = index >= 0
        if not bool(found.any()):
            raise MissingSignal(
                "none of this prompt's visual tokens came from the last call of the vision tower"
            )

        # crops are numbered in the order of this pool, however the batch was encoded
        same = _same_pictures(source, captured.crop)
        number, shown = _by_appearance(same[index[found]])
        crop = torch.full_like(index, -1).masked_scatter(found, number)

        # rows without a patch read row 0 here and are blanked by _of_patches
        rows = index.clamp(min=0)
        signals = {
            name: _of_patches(signal[rows], found) for name, signal in captured.signals.items()
        }
        encode = None
        if "picture" in self._signals:
            encode = partial(self._encode, captured, shown.tolist())
        states = None
        project = None
        if captured.states is not None:
            states = captured.states[rows]
            project = partial(self._untapped, self._points.projector)

        return VisionSignals(
            crop=crop,
            signals=signals,
            cls=None if captured.cls is None else captured.cls[shown],
            states=states,
            project=project,
            encode=encode,
        )

    def _encode(
        self, captured: _Captured, shown: list[int], crop: int, rows: int, columns: int
    ) -> Tensor:
        """Features of one crop's picture at a smaller grid."""
        number, own = captured.crop_source[shown[crop]]
        capture = captured.captures[number]
        features = self._untapped(self._family.encode, self._base, capture, own, (rows, columns))
        assert isinstance(features, Tensor)
        return features

    def _waiting(self) -> list[VisionCapture]:
        """The captures of this thread that no prefill has taken yet."""
        if not hasattr(self._local, "waiting"):  # the first call in this thread
            self._local.waiting = []
            self._local.current = VisionCapture()
            self._local.muted = False
        waiting: list[VisionCapture] = self._local.waiting
        return waiting

    def _untapped(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run `call`, which calls tapped modules itself, without capturing what they compute."""
        self._local.muted = True
        try:
            return call(*args)
        finally:
            self._local.muted = False

    def _capture_inputs(
        self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> None:
        self._waiting()
        if not self._local.muted:
            self._local.current.inputs[name] = (args, dict(kwargs))

    def _capture_output(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self._waiting()
        if not self._local.muted:
            self._local.current.outputs[name] = output[0] if isinstance(output, tuple) else output

    def _capture_rows(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """The projector is the last to run: its output completes a capture."""
        waiting = self._waiting()
        if self._local.muted:
            return

        capture = self._local.current
        self._local.current = VisionCapture()
        # [C, n, D] or [n, D] -> [R, D]
        capture.rows = output.flatten(0, -2)
        waiting.append(capture)
        # features that are encoded and never used must not pile up
        del waiting[:-MAX_WAITING]


def _cat_if_all(parts: list[Tensor | None]) -> Tensor | None:
    """The parts joined, or None if one of them is missing."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _of_patches(signal: Tensor, found: Tensor) -> Tensor:
    """The signal of each patch; elsewhere NaN (scores), 0 (vectors), -1 (whole numbers)."""
    nothing: float = float("nan") if signal.ndim == 1 else 0
    if not signal.is_floating_point():
        nothing = -1

    shape = (-1, *[1] * (signal.ndim - 1))
    return torch.where(found.view(shape), signal, torch.full_like(signal, nothing))


def _by_appearance(crop: Tensor) -> tuple[Tensor, Tensor]:
    """Crops [n] renumbered 0, 1, ... in the order of the tokens, and the old number of each [c]."""
    shown, place = crop.unique(return_inverse=True)
    tokens = torch.arange(len(crop), device=crop.device)
    first = torch.full_like(shown, len(crop)).scatter_reduce(0, place, tokens, "amin")
    order = first.argsort()
    return order.argsort()[place], shown[order]


def _same_pictures(source: Tensor, crop: Tensor) -> Tensor:
    """One number for crops of the same picture, the lowest. [R, D], [R] -> [R] long.

    A picture that is in the batch twice (several questions about one image) comes out of the tower
    twice, equal but for rounding, so its rows are found now in one copy, now in the other.
    """
    # each crop takes the lowest crop that one of its rows was found in, until nothing changes
    numbers = torch.arange(int(crop.max()) + 1, device=crop.device)
    same = numbers.scatter_reduce(0, crop, crop[match_rows(source, source)], "amin")
    while not torch.equal(same, same[same]):
        same = same[same]
    return same[crop]
