"""Registering hooks that disappear together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn

from transprune.runtime.forward_pass import Pass


class Hooks:
    """Registers hooks on modules until its stack is closed.

    Args:
        stack: closing it removes every hook registered here.
        running: returns the pass of the calling thread, or None.
    """

    def __init__(self, stack: ExitStack, running: Callable[[], Pass | None]) -> None:
        self._stack = stack
        self.running = running

    def before(self, module: nn.Module, hook: Callable[..., Any]) -> None:
        """Call `hook(module, args, kwargs)` before each forward of `module`."""
        # decoder layers are called with keywords, all but the hidden states
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
        self._stack.callback(handle.remove)

    def after(self, module: nn.Module, hook: Callable[..., Any], **options: bool) -> None:
        """Call `hook(module, args, output)` after each forward of `module`.

        `options` are those of `register_forward_hook`: `with_kwargs`, `always_call`.
        """
        handle = module.register_forward_hook(hook, **options)
        self._stack.callback(handle.remove)
