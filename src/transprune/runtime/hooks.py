"""Registering hooks that disappear together, and knowing when a module is no longer the one hooked.

An adapter that is added or merged replaces modules of a model. The hooks then hang on modules that
no longer run, or run inside others, so every prompt checks that each hooked module is still at its
place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import nn

from transprune.errors import SessionError
from transprune.runtime.forward_pass import Pass


class HookGroup:
    """Hooks that are on the model only while somebody needs them.

    A module without hooks is called faster, and most steps of decoding need none. Threads share a
    model, so those who need the hooks are counted.

    Args:
        note: called with each module, before anything is registered on it.
    """

    def __init__(self, note: Callable[[nn.Module], None]) -> None:
        self._note = note
        self._register: list[Callable[[], Any]] = []
        self._handles: list[Any] = []
        self._users = 0
        self._lock = threading.Lock()

    def before(self, module: nn.Module, hook: Callable[..., Any], prepend: bool = False) -> None:
        """Call `hook(module, args, kwargs)` before each forward of `module`.

        With `prepend` it is the first of those that are on the module by then.
        """
        self._note(module)
        # decoder layers are called with keywords, all but the hidden states
        own = _Hook(hook)
        register = module.register_forward_pre_hook
        self._register.append(partial(register, own, with_kwargs=True, prepend=prepend))

    def after(self, module: nn.Module, hook: Callable[..., Any], **options: bool) -> None:
        """Call `hook(module, args, output)` after each forward of `module`.

        `options` are those of `register_forward_hook`: `with_kwargs`, `always_call`.
        """
        self._note(module)
        self._register.append(partial(module.register_forward_hook, _Hook(hook), **options))

    def switch_on(self) -> None:
        """Put the hooks on, unless they are."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._handles = [register() for register in self._register]

    def switch_off(self) -> None:
        """Take the hooks off, unless somebody else needs them."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._remove()

    def close(self) -> None:
        """Take the hooks off, whoever needs them."""
        with self._lock:
            self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


class Hooks:
    """Registers hooks on modules until its stack is closed.

    Args:
        stack: closing it removes every hook registered here.
        running: returns the pass of the calling thread, or None.
        root: the module that contains all hooked ones.

    Attributes:
        layers: hooks that fit the arguments of those decoder layers that this method changes, on
            while a forward needs them.
        other_layers: the same of all other layers, which a cache of another session may need.
        pruning: hooks that read the language model, on while a prompt is pruned. Taps of the vision
            tower cannot use these: images may be encoded before the prompt is read.
        static: hooks that fit masks to a pruned static cache, on from its first decode step.
    """

    def __init__(
        self, stack: ExitStack, running: Callable[[], Pass | None], root: nn.Module
    ) -> None:
        self._stack = stack
        self.running = running
        self._root = root
        self._names = {id(module): name for name, module in root.named_modules()}
        # path -> (the module that holds it, its name there, the module), for all hooked ones and
        # those they are inside of: one look per entry, as every prompt is checked
        self._places: dict[str, tuple[nn.Module, str, nn.Module]] = {}

        self._always = self._group()
        self.layers = self._group()
        self.other_layers = self._group()
        self.pruning = self._group()
        self.static = self._group()

    def before(self, module: nn.Module, hook: Callable[..., Any], prepend: bool = False) -> None:
        """Call `hook(module, args, kwargs)` before each forward of `module`; see `HookGroup`."""
        self._always.before(module, hook, prepend)

    def after(self, module: nn.Module, hook: Callable[..., Any], **options: bool) -> None:
        """Call `hook(module, args, output)` after each forward of `module`."""
        self._always.after(module, hook, **options)

    def switch_on(self) -> None:
        """Put those hooks on that every forward needs."""
        self._always.switch_on()

    def _group(self) -> HookGroup:
        group = HookGroup(self._note)
        self._stack.callback(group.close)
        return group

    def check_in_place(self) -> None:
        """Check that every hooked module is still where it was.

        Raises:
            SessionError: some have been replaced or wrapped since.
        """
        moved = []
        for path, (parent, name, module) in self._places.items():
            if parent._modules.get(name) is not module:
                moved.append(path)
        if moved:
            others = f" ({len(moved)} modules in all)" if len(moved) > 1 else ""
            raise SessionError(
                f"{moved[0]}{others} was replaced since the session was attached: an adapter was "
                "added, loaded or merged, or a module wrapped. Leave the session, and attach it "
                "again when the model is as it is to run."
            )

    def _note(self, module: nn.Module) -> None:
        name = self._names.get(id(module))
        if name is None:
            raise SessionError(
                f"a {type(module).__name__} to be read is no longer part of the model: it was "
                "changed between prune and attach; make a new session with prune(model, ...)"
            )

        parent = self._root
        parts = name.split(".") if name else []
        for depth, part in enumerate(parts, start=1):
            child = parent.get_submodule(part)
            self._places[".".join(parts[:depth])] = (parent, part, child)
            parent = child


class _Hook(partial[Any]):
    """A hook that belongs to one model: copies of it do nothing, and it cannot be saved.

    `copy.deepcopy(model)` inside a session gives a model that is not pruned.
    """

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return _do_nothing

    def __reduce__(self) -> Any:
        raise SessionError(
            "this model is being pruned, and its hooks cannot be saved or sent to another process; "
            "leave the session first (session.detach())"
        )


def _do_nothing(*args: Any) -> None:
    """The copy of a hook."""
