"""Decode steps on a pruned static cache: fitting masks, eagerly or inside one compiled graph.

No layer needs other positions, because pruning moves earlier rows and never the newest, and no
shape changes. What is left is one mask per stage. A hook in front of each layer takes its columns
from the model's mask; in a compiled step the hooks are traced, so that the graph has none.

Compiled is the forward of the decoder, and only for steps of one token on a pruned static cache:
embeddings, the head and everything else run as before. With CUDA the graph is recorded and replayed
(`mode="reduce-overhead"`).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn

from transprune.core.library import cache_of
from transprune.core.shown import shown
from transprune.errors import MethodError, PruneWarning
from transprune.runtime.hooks import HookGroup, Hooks
from transprune.runtime.static.layers import StaticKeptLayer, pruned_static_cache

TOO_MANY = (
    "static decoding was compiled for more batch sizes and prompt lengths than torch keeps "
    "(torch._dynamo.config.recompile_limit); this one runs without compiled code. Pad prompts to "
    "few lengths, or raise that limit"
)
FAILED = "static decoding could not be compiled and runs eagerly"
RECORDED = ("output_attentions", "output_hidden_states")


def check_backend(compiles: bool | str) -> str | None:
    """The backend of torch.compile for `prune(compile=...)`; None where nothing is compiled.

    Raises:
        MethodError: torch has no such backend.
    """
    if isinstance(compiles, bool):
        return "inductor" if compiles else None

    known = torch._dynamo.list_backends(exclude_tags=())
    if compiles not in known:
        raise MethodError(
            f"compile is True, False or the name of a backend of torch.compile "
            f"({', '.join(sorted(known))}); got {compiles!r}"
        )
    return compiles


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
        self._step: _Step | None = None
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
            self._step = _compiled(original, decoder, backend)

        def restore() -> None:
            if own is None:
                del decoder.forward
            else:
                decoder.forward = own

        decoder.forward = _Forward(decoder, original, self._step)
        stack.callback(restore)


def _compiled(original: Callable[..., Any], decoder: nn.Module, backend: str) -> _Step:
    """`original` as one graph; a session sets compiled code aside, but not this."""

    def step(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    # compiled code is kept by code object: a copy keeps that of several sessions apart
    step.__code__ = step.__code__.replace(co_name="static_decode_step")
    on_gpu = next(decoder.parameters()).device.type == "cuda"
    mode = "reduce-overhead" if on_gpu and backend == "inductor" else None
    compiled = torch.compile(step, fullgraph=True, dynamic=False, backend=backend, mode=mode)
    return _Step(original, compiled, replays=mode is not None)


class _Step:
    """Calls the compiled step, or the plain one where it cannot be compiled.

    Args:
        plain, compiled: the forward of the decoder.
        replays: the compiled one is a recorded graph, which overwrites its outputs.

    Attributes:
        plain: as given.
    """

    def __init__(
        self, plain: Callable[..., Any], compiled: Callable[..., Any], replays: bool
    ) -> None:
        self.plain = plain
        self._compiled: Callable[..., Any] | None = compiled
        self._replays = replays

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the decoder."""
        if self._compiled is None:
            return self.plain(*args, **kwargs)
        try:
            # a session sets compiled code aside, but not its own
            with torch.compiler.set_stance("default"):
                torch.compiler.cudagraph_mark_step_begin()
                output = self._compiled(*args, **kwargs)
        # both are raised while compiling, so that nothing has been stored yet
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            warnings.warn(TOO_MANY, PruneWarning, stacklevel=2)
            return self.plain(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            self._compiled = None
            why = f"{type(error).__name__}: {shown(str(error))}"
            warnings.warn(f"{FAILED} ({why})", PruneWarning, stacklevel=2)
            return self.plain(*args, **kwargs)

        if self._replays:
            output.last_hidden_state = output.last_hidden_state.clone()
        return output


class _Forward:
    """Stands in for the forward of a decoder while a session is attached; copies lack it.

    Args:
        decoder: whose forward it is.
        plain: that forward.
        step: takes its place for steps of one token on a pruned static cache.
    """

    def __init__(self, decoder: nn.Module, plain: Callable[..., Any], step: _Step) -> None:
        self._decoder = decoder
        self._plain = plain
        self._step = step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the decoder."""
        decodes = _is_one_token(kwargs) and pruned_static_cache(cache_of(kwargs)) is not None
        return (self._step if decodes else self._plain)(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        # a copied model must not run the modules of this one
        copied = memo[id(self._decoder)]
        return MethodType(type(copied).forward, copied)


def _is_one_token(kwargs: dict[str, Any]) -> bool:
    """Whether this is a step of one token, of which nothing is recorded."""
    rows = kwargs.get("inputs_embeds")
    recorded = any(kwargs.get(name) for name in RECORDED)
    return rows is not None and rows.shape[1] == 1 and not recorded


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
