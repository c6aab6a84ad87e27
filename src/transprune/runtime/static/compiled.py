"""Compiling the forward of a decoder for steps of one token on a pruned static cache.

With CUDA the graph is recorded and replayed (`mode="reduce-overhead"`). Whatever cannot be compiled
runs eagerly, with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn

from transprune.core.library import cache_of
from transprune.core.shown import shown
from transprune.errors import MethodError, PruneWarning
from transprune.runtime.static.layers import pruned_static_cache

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


def compiled_step(original: Callable[..., Any], decoder: nn.Module, backend: str) -> Step:
    """`original` as one graph; a session sets compiled code aside, but not this."""

    def step(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    # compiled code is kept by code object: a copy keeps that of several sessions apart
    step.__code__ = step.__code__.replace(co_name="static_decode_step")
    on_gpu = next(decoder.parameters()).device.type == "cuda"
    mode = "reduce-overhead" if on_gpu and backend == "inductor" else None
    compiled = torch.compile(step, fullgraph=True, dynamic=False, backend=backend, mode=mode)
    return Step(original, compiled, replays=mode is not None)


class Step:
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


class Forward:
    """Stands in for the forward of a decoder while a session is attached; copies lack it.

    Args:
        decoder: whose forward it is.
        plain: that forward.
        step: takes its place for steps of one token on a pruned static cache.
    """

    def __init__(self, decoder: nn.Module, plain: Callable[..., Any], step: Step) -> None:
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
