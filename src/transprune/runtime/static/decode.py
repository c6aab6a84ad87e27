"""Decode steps on a pruned static cache: fitting masks, eagerly or inside one compiled graph.

No layer needs other positions, because pruning moves earlier rows and never the newest, and no
shape changes. What is left is one mask per stage. A hook in front of each layer takes its columns
from the model's mask; in a compiled step the hooks are traced, so that the graph has none.

Compiled is the forward of the decoder, and only for steps of one token on a pruned static cache:
embeddings, the head and everything else run as before.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import nn

from transprune.core.library import cache_of
from transprune.errors import MethodError
from transprune.runtime.hooks import HookGroup, Hooks
from transprune.runtime.static.compiled import Forward, Step, compiled_step
from transprune.runtime.static.layers import StaticKeptLayer, pruned_static_cache


class StaticDecode:
    """Decodes on pruned static caches.

    Args:
        decoder: the module that runs the layers.
        layers: the decoder layers.
        backend: of torch.compile, or None to run steps eagerly.

    Attributes:
        capacities: decoder layer -> entries of its largest buffer so far. Where steps are compiled,
            later buffers get no smaller, so that prompts of several lengths share one graph.
    """

    def __init__(self, decoder: Any, layers: list[Any], backend: str | None) -> None:
        self._decoder = decoder
        self._layers = layers
        self._backend = backend
        self._lock = threading.Lock()
        self._step: Step | None = None
        self.capacities: dict[int, int] | None = None if backend is None else {}

    def attach(self, hooks: Hooks, stack: ExitStack) -> None:
        """Prepare the hooks, and the compiled step where one was asked for."""
        self._group: HookGroup | None = hooks.static
        for index, layer in enumerate(self._layers):
            hooks.static.before(layer, partial(_fit_mask, index))
        if self._backend is not None:
            self._compile(stack, self._backend)

    def continues(self, cache: Any, rows: int) -> bool:
        """Whether this forward of so many rows per sample follows a pruned prompt in such a cache.

        Raises:
            CacheError: the cache has no room for them.
        """
        first = pruned_static_cache(cache)
        if first is None:
            return False

        first.take(rows)
        with self._lock:
            group, self._group = self._group, None
        # they stay until the session is left: to put them on and off costs more than their calls
        if group is not None:
            group.switch_on()
        return True

    def _compile(self, stack: ExitStack, backend: str) -> None:
        """Run steps of one token through a compiled forward until `stack` is closed."""
        decoder = self._decoder
        own = vars(decoder).get("forward")
        original = decoder.forward
        # once, however often the session is attached
        if self._step is None or self._step.plain != original:
            self._step = compiled_step(original, decoder, backend)

        def restore() -> None:
            if own is None:
                del decoder.forward
            else:
                decoder.forward = own

        decoder.forward = Forward(decoder, original, self._step)
        stack.callback(restore)


def _fit_mask(index: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Give layer `index` the columns of the mask that belong to its buffer."""
    cache = cache_of(kwargs)
    stored = cache.layers[index] if cache is not None and index < len(cache.layers) else None
    if not isinstance(stored, StaticKeptLayer) or stored.columns is None or stored.announced:
        return None

    hidden = args[0] if args else kwargs["hidden_states"]
    mask = stored.columns.fit(kwargs.get("attention_mask"), hidden.dtype)
    return args, {**kwargs, "attention_mask": mask}


def decode_static(model: Any, stack: ExitStack) -> None:
    """Let `generate` of `model` make static caches until `stack` is closed.

    Raises:
        MethodError: the model does not generate.
    """
    settings = getattr(model, "generation_config", None)
    if settings is None:
        raise MethodError(
            f"decode='static' is for a model that generates; a {type(model).__name__} has no "
            "generation_config. Give prune the whole model, or pass a StaticCache yourself"
        )

    stack.callback(setattr, settings, "cache_implementation", settings.cache_implementation)
    settings.cache_implementation = "static"
