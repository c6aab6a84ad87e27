"""Captures of the vision tower, until a prefill takes them.

`generate` encodes the images before the first forward of the model, a plain call encodes them
inside it. So captures wait here, per thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from transprune.families.base import TapPoints, VisionCapture
from transprune.runtime.hooks import Hooks

MAX_WAITING = 8  # captures that no prefill took, of features encoded outside any forward


class _OfThread(threading.local):
    """What one thread has captured: threads that share a model encode pictures at the same time."""

    def __init__(self) -> None:
        self.waiting: list[VisionCapture] = []
        self.latest: list[VisionCapture] = []
        self.current = VisionCapture()
        self.muted = False


class Waiting:
    """The captures of each thread that no prefill has taken yet."""

    def __init__(self) -> None:
        self._own = _OfThread()

    def attach(self, hooks: Hooks, points: TapPoints) -> None:
        """Register the hooks at these points."""
        for name, module in points.inputs.items():
            hooks.before(module, partial(self._capture_inputs, name))
        for name, module in points.outputs.items():
            hooks.after(module, partial(self._capture_output, name))
        hooks.after(points.projector, self._capture_rows)

    def take(self, repeats: bool) -> list[VisionCapture]:
        """What was captured since the last prefill.

        A prompt that is run again and again (`repeats`) comes with features that were encoded once.
        """
        captures = self._own.waiting
        self._own.waiting = []

        if repeats:
            captures = captures or self._own.latest
        self._own.latest = captures if repeats else []
        return captures

    def put_back(self, captures: list[VisionCapture]) -> None:
        """Let the next prefill take these, unless the pictures are encoded once more."""
        self._own.waiting = list(captures)

    def untapped(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run `call`, which calls tapped modules itself, without capturing what they compute."""
        self._own.muted = True
        try:
            return call(*args)
        finally:
            self._own.muted = False

    def _capture_inputs(
        self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> None:
        if not self._own.muted:
            self._own.current.inputs[name] = (args, dict(kwargs))

    def _capture_output(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if not self._own.muted:
            self._own.current.outputs[name] = output[0] if isinstance(output, tuple) else output

    def _capture_rows(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """The projector is the last to run: its output completes a capture."""
        if self._own.muted:
            return

        capture = self._own.current
        self._own.current = VisionCapture()
        # [C, n, D] or [n, D] -> [R, D]
        capture.rows = output.flatten(0, -2)

        self._own.waiting.append(capture)
        # features that are encoded and never used must not pile up
        del self._own.waiting[:-MAX_WAITING]
