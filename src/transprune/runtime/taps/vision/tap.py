"""Signals of the vision tower, for the methods that announce them.

What the tower computes is captured call by call (`waiting`), joined for one prefill (`captured`),
and found again for each visual token by its row of the projector (`match`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transprune.algebra.match import hash_rows
from transprune.core.prompt import Numbers
from transprune.core.rows import Flags, upload
from transprune.core.signals import SIGNALS, WITHOUT_ROWS, VisionSignals, is_signal
from transprune.errors import MethodError, MissingSignal
from transprune.families.base import Family, VisionCapture, VisionRows
from transprune.methods.common.method import ProjectorPruner
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import Setup, Signals, Tap
from transprune.runtime.taps.vision.captured import (
    LOOKS,
    Captured,
    by_appearance,
    copy_to_host,
    join_calls,
    of_patches,
    rows_at,
)
from transprune.runtime.taps.vision.match import Prefill, hashes_in_order
from transprune.runtime.taps.vision.tiles import find_tiles
from transprune.runtime.taps.vision.waiting import Waiting

SIGNAL = "vision"
CALLS = "calls of the tower"


class VisionTap(Tap):
    """Captures the announced signals (`transprune.core.signals`) in the vision tower."""

    def __init__(
        self, family: Family, base: nn.Module, signals: Collection[str], inside: bool = False
    ) -> None:
        unknown = sorted(name for name in signals if not is_signal(name))
        if unknown:
            raise MethodError(
                f"`reads` takes of the vision tower {', '.join(SIGNALS)}; got {', '.join(unknown)}"
            )

        self._family = family
        self._base = base
        self._signals = frozenset(signals)
        self._inside = inside  # read behind some layer, too
        self._points = family.vision_tap_points(base, self._signals)
        self._captures = Waiting()

    @classmethod
    def needed(cls, setup: Setup) -> VisionTap | None:
        """If some part reads the tower."""
        readers = [step for step in setup.method.steps if step.reads.vision]
        signals = {name for step in readers for name in step.reads.vision}
        inside = any(not isinstance(step, ProjectorPruner) for step in readers)
        return cls(setup.family, setup.base, signals, inside) if readers else None

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks at the points the family names."""
        # again: an adapter may have been added since the session was made
        self._points = self._family.vision_tap_points(self._base, self._signals)
        self._captures.attach(hooks, self._points)

    def begin(self, state: Pass) -> None:
        """Take what was captured since the last prefill."""
        captures = self._captures.take(state.repeats)
        state.captured[CALLS] = captures
        state.captured[SIGNAL] = Prefill(partial(self.join, captures), self.signals_of)

    def memory(self, state: Pass) -> Any:
        """The calls of the tower."""
        return state.captured[CALLS]

    def recall(self, memory: Any) -> None:
        """Take the same calls again, unless the pictures are encoded once more."""
        self._captures.put_back(memory)

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Signals of the pool's rows, found in the projector's output."""
        prefill: Prefill = state.captured[SIGNAL]
        assert state.layout is not None
        # before any stage: every visual token of the batch as it came out of the projector
        if call.index == 0:
            prefill.prompt = (state.layout, call.hidden)
        signals[SIGNAL] = prefill

    def enter(self, state: Pass, hidden: Tensor) -> None:
        """The same, where no stage acts in front of layer 0 and one behind it reads the tower."""
        prefill: Prefill = state.captured[SIGNAL]
        assert state.layout is not None
        if not self._inside:
            prefill.prompt = None
        elif prefill.prompt is None and not prefill.is_matched:
            prefill.prompt = (state.layout, hidden)

    def join(
        self, captures: list[VisionCapture], tokens: Tensor, dtype: torch.dtype
    ) -> tuple[Captured, Numbers, Numbers]:
        """Everything announced, row by row, over all calls of the tower.

        Args:
            captures: the calls.
            tokens: hashes of the visual tokens of the batch. long [N]
            dtype: of the rows they were made of.

        Returns:
            What was captured, and on the host `tokens` and the hashes of the projector's rows [R].

        Raises:
            MissingSignal: there are none.
        """
        if not captures:
            raise MissingSignal(
                "this method reads the vision tower, but the image features were encoded outside "
                "the session. Pass pixel_values to the call, or encode inside the session."
            )

        self._check_complete(captures)

        def of_calls(compute: Callable[..., Any], *args: Any) -> list[Any]:
            return [self._captures.untapped(compute, self._base, call, *args) for call in captures]

        # visual tokens are found by content: between projector and prompt every model packs them
        # its own way
        hashes = [hash_rows(rows.to(dtype)) for rows in of_calls(self._family.candidate_rows)]
        wanted = [self._wanted(capture) for capture in captures]
        # one transfer for all calls of the tower
        found = copy_to_host([tokens, *hashes], captures, wanted)

        parts: list[VisionRows] = of_calls(self._family.vision_rows)
        values = {}
        for name in sorted(self._signals - WITHOUT_ROWS):
            values[name] = of_calls(self._family.vision_signal, name)

        joined = join_calls(captures, parts, values)
        return joined, found[0], hashes_in_order(found[1:], parts)

    def _wanted(self, capture: VisionCapture) -> dict[str, Tensor]:
        """What is needed on the host of one call of the tower."""
        wanted = self._family.vision_numbers(self._base, capture)
        looks = None
        if "tiles" in self._signals:
            looks = self._family.crop_looks(self._base, capture)
        return wanted if looks is None else {**wanted, LOOKS: looks}

    def _check_complete(self, captures: list[VisionCapture]) -> None:
        """Raise MissingSignal if a tapped module did not run in a call of the tower."""
        for capture in captures:
            missing = (self._points.inputs.keys() - capture.inputs.keys()) | (
                self._points.outputs.keys() - capture.outputs.keys()
            )
            if missing:
                raise MissingSignal(
                    "these parts of the vision tower were not called, though the tower ran: "
                    f"{', '.join(sorted(missing))}. Was its forward replaced (fused kernels, a "
                    "patched tower)? Use the model as transformers builds it, or a method that "
                    "reads the projected features only, such as DivPrune."
                )

    def signals_of(
        self, captured: Captured, index: Numbers, cut: tuple[Numbers, Numbers] | None = None
    ) -> VisionSignals:
        """Signals of visual tokens whose projector rows are `index` [N], -1 for none.

        `cut` are the picture of each token and how it was cut, [N] each, where that is announced.
        """
        found = index >= 0
        _check_found(found)

        # crops are numbered in the order of this pool, however the batch was encoded
        number, shown = by_appearance(captured.crop[index[found]])
        crop = np.full_like(index, -1)
        crop[found] = number

        # rows without a patch read row 0 here and are blanked
        device = _rows_of(captured.captures[0]).device
        rows = rows_at(index.clip(0), device)

        signals = {}
        for name, signal in captured.signals.items():
            signals[name] = of_patches(signal[rows], found)

        arrays = {"crop": crop}
        for name, table in captured.arrays.items():
            arrays[name] = np.where(found[:, None], table[index], -1)
            signals[name] = upload(arrays[name], device)

        locate = None
        if cut is not None:
            # a method asks several times
            locate = cache(partial(find_tiles, crop, *cut, _looks(captured, shown)))

        return VisionSignals(
            crop=upload(crop, device),
            signals=signals,
            cls=None if captured.cls is None else captured.cls[rows_at(shown, device)],
            states=None if captured.states is None else captured.states[rows],
            project=self._projector(captured),
            encode=self._encoder(captured, shown),
            find_tiles=locate,
            arrays=arrays,
        )

    def _projector(self, captured: Captured) -> Callable[[Tensor], Tensor] | None:
        """The projector, for tokens that are merged in front of it; None where it has other inputs."""
        if captured.states is None:
            return None
        return partial(self._captures.untapped, self._points.projector)

    def _encoder(
        self, captured: Captured, shown: Numbers
    ) -> Callable[[int, int, int], Tensor] | None:
        """Encodes the pictures of the crops `shown` at another size, where that is announced."""
        if "picture" not in self._signals:
            return None
        return partial(self._encode, captured, shown.tolist())

    def _encode(
        self, captured: Captured, shown: list[int], crop: int, rows: int, columns: int
    ) -> Tensor:
        """Features of one crop's picture at a smaller grid."""
        number, own = captured.crop_source[shown[crop]]
        capture = captured.captures[number]
        features = self._captures.untapped(
            self._family.encode, self._base, capture, own, (rows, columns)
        )
        assert isinstance(features, Tensor)
        return features


def _check_found(found: Flags) -> None:
    """Raise MissingSignal if so few visual tokens have a row of the projector that something is off."""
    if not found.any():
        raise MissingSignal(
            "none of this prompt's visual tokens came from the last call of the vision tower"
        )
    # newlines are few; more tokens without a patch were made of patches behind the projector
    if 2 * found.sum() < len(found):
        raise MissingSignal(
            f"{len(found) - int(found.sum())} of {len(found)} visual tokens are no row of the "
            "projector: the model scaled them down behind it, so what its tower saw of them is "
            "not known. Use a method that reads the projected features only, such as DivPrune, "
            "or a smaller picture"
        )


def _looks(captured: Captured, shown: Numbers) -> NDArray[Any] | None:
    """Small pictures of the crops `shown`, if the family gives them."""
    return None if captured.looks is None else captured.looks[shown]


def _rows_of(capture: VisionCapture) -> Tensor:
    """What the projector put out, [R, D]; a capture is complete when it is known."""
    assert capture.rows is not None
    return capture.rows
