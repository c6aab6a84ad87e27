"""The public entry point: `prune(model, method)`, a context manager that prunes one model."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

from torch import nn

from transprune.cost.geometry import Geometry
from transprune.errors import SessionError
from transprune.families import Family, find_family
from transprune.families.wrappers import unwrap
from transprune.methods.common.method import Method, Positions
from transprune.methods.common.recipe import resolve
from transprune.runtime.engine import Engine
from transprune.runtime.forward_pass import Pass
from transprune.runtime.options import Decode, Options, position_policies
from transprune.runtime.pools import Pool
from transprune.runtime.snapping import moves_of
from transprune.runtime.static.decode import decode_static
from transprune.runtime.taps.base import Setup
from transprune.runtime.taps.text_tower import TextTower
from transprune.runtime.tracing import PendingTrace
from transprune.runtime.turns import Turns
from transprune.trace import Trace

# models that are being pruned now: a second set of hooks would prune what the first has left.
# Weak, so that a forgotten session does not keep its model in memory
_attached: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_attached_lock = threading.Lock()


def prune(
    model: nn.Module,
    method: Method | str | os.PathLike[str],
    *,
    positions: Positions | None = None,
    pool: Pool = "sample",
    record: Iterable[str] = (),
    text_tower: TextTower | str | os.PathLike[str] | None = None,
    decode: Decode = "dynamic",
    compile: bool | str = False,
    turns: Turns = "keep",
) -> Session:
    """A session that prunes `model` with `method` while it is attached.

        with prune(model, TransPrune.high()) as session:
            out = model.generate(**inputs)
        print(session.trace)

    Args:
        model: an unmodified transformers vision-language model of a known family. It may be inside
            PEFT's, torch.compile's or a data-parallel wrapper; compiled code is set aside while the
            session is attached.
        method: a Method, a preset or recipe text (`"transprune-high"`,
            `"fastv:layer=3,keep_ratio=0.25"`, `"visionzip:keep=192+transprune-low"`), or a recipe
            file or folder.
        positions: position ids of the survivors, `"keep"` or `"renumber"`; None takes the policy of
            each method's own code.
        pool: `"sample"` ranks all visual tokens of a sample together, `"image"` each picture and
            each whole video by the same ratio, `"frame"` each picture and each frame of a video.
        record: what the trace carries besides the kept tokens: `"scores"`, `"transitions"` of the
            observed layers, `"changes"` of all layers.
        text_tower: the text half of the model's CLIP, for methods that compare patches with the
            question (CDPruner): a folder or hub id such as `"openai/clip-vit-large-patch14-336"`,
            or a `TextTower`. None looks into `clip/` beside the checkpoint.
        decode: `"static"` lets `generate` decode in buffers of a fixed size, as its own
            `cache_implementation="static"` does; `"dynamic"` leaves the choice to the call.
        compile: compile what pruning computes itself, and decode steps on static caches, each as
            one graph: fewer kernels, after some seconds at the first prompt. True, or the name of
            a backend of `torch.compile`. Scores differ in their last bits.
        turns: what later turns on the same cache do, whose instruction is a new one. `"keep"` goes
            on with the tokens kept for the first; `"refresh"` prefills the whole conversation again
            and chooses for the newest (no beams, no static cache, no new picture in a later turn).

    Returns:
        A Session, not yet attached: use it in a `with`, or call `attach()` and `detach()`.

    Raises:
        UnknownMethod, RecipeError, ScheduleError, MethodError: the method, or its fit to this
            depth.
        UnknownFamily, MissingSignal: the model.
        PositionsError: renumbering was asked for under M-RoPE.
        CacheError: the method evicts keys, and layers have sliding windows or share keys.
    """
    resolved: Method = resolve(method)
    family = find_family(model)
    base = family.base(model)
    geometry = Geometry.from_config(base.config)
    policies = position_policies(resolved, family, positions)

    # a plan that does not fit this model raises here, not in the first forward
    resolved.plan(geometry.layers, geometry.visual_tokens)

    options = Options.of(pool, record, decode, compile, turns)
    setup = _setup(model, family, base, resolved, options, text_tower)
    return Session(setup, geometry, policies, options)


class Session:
    """One method on one model, made by `prune`.

    Attaching registers hooks, detaching removes every one; the model stays as it was.

    Attributes:
        method: the method that runs.
        family: the model's family.
        geometry: sizes of the language model.
    """

    def __init__(
        self,
        setup: Setup,
        geometry: Geometry,
        policies: tuple[Positions, ...],
        options: Options,
    ) -> None:
        self.method = setup.method
        self.family: Family = setup.family
        self.geometry = geometry

        self._setup = setup
        self._policies = policies
        self._decode = options.decode
        self._engine = Engine(setup, policies, options, self._publish)
        self._stack: ExitStack | None = None
        self._latest: PendingTrace | None = None
        self._own = threading.local()

    @property
    def trace(self) -> Trace:
        """What the last prefill with an image kept.

        Of the calling thread, or of any if this thread has run none. A prompt without an image does
        not replace it, because `generate` runs such prompts too (classifier-free guidance); a note
        says that there was one.

        Raises:
            SessionError: nothing has run yet.
        """
        pending = getattr(self._own, "trace", None) or self._latest
        if pending is None:
            raise SessionError(
                "no trace yet: call the model, or model.generate, inside the session first"
            )
        self._engine.read_flags()
        return pending.read()

    @property
    def attached(self) -> bool:
        """Whether the model is being pruned now."""
        return self._stack is not None

    def attach(self) -> Session:
        """Start pruning; returns itself.

        Raises:
            SessionError: this or another session is attached to the model already.
            UnknownFamily: no family lists this type of model, and pruning it is not right.
            TransformersError: the installed transformers lacks something that pruning builds on.
        """
        base = self._setup.base
        self._check_free()
        # outside the lock: the proof of a model that no family lists attaches sessions of its own
        model = self._setup.model
        self.family.prove(model, partial(prune, model, positions="keep"))

        with _attached_lock:
            self._check_free()
            with ExitStack() as stack:
                self._engine.attach(stack)
                if self._decode == "static":
                    decode_static(unwrap(self._setup.model), stack)
                self._stack = stack.pop_all()  # reached only if every hook could be registered
            _attached.add(base)

        return self

    def _check_free(self) -> None:
        """Raise SessionError if the model is being pruned already."""
        if self._setup.base in _attached:
            raise SessionError(
                "this model is being pruned already; leave that session first, or put both "
                "methods into one Compose"
            )

    def detach(self) -> None:
        """Stop pruning and remove every hook. Harmless when not attached.

        Raises:
            SessionError: called from inside a forward of the model.
        """
        if self._engine.runs_here():
            raise SessionError(
                "detach was called from inside a forward, whose layers have been given pruned rows "
                "already; call it when the forward has returned"
            )

        with _attached_lock:
            if self._stack is not None:
                self._stack.close()
                self._stack = None
                _attached.discard(self._setup.base)

        self._engine.read_flags()

    def __enter__(self) -> Session:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def __reduce__(self) -> Any:
        raise SessionError(
            "a session belongs to one model in one process; copy or send the method "
            "(session.method) or the trace (session.trace), and make a session there"
        )

    def __repr__(self) -> str:
        state = "attached" if self.attached else "not attached"
        return f"<Session of {self.method!r} on {self.family.name}, {state}>"

    def _publish(self, state: Pass, cache: Any) -> None:
        trace = PendingTrace.of(self._setup, self.geometry, self._policies, state, cache)
        # threads that share a model read the trace of their own prefill
        self._own.trace = _newer(getattr(self._own, "trace", None), trace)
        self._latest = _newer(self._latest, trace)


def _newer(earlier: PendingTrace | None, trace: PendingTrace) -> PendingTrace:
    """The new trace, or the earlier one where only that one saw an image."""
    if earlier is None or trace.saw_image or not earlier.saw_image:
        return trace
    earlier.note_later(trace)
    return earlier


def _setup(
    model: nn.Module,
    family: Family,
    base: Any,
    method: Method,
    options: Options,
    text_tower: TextTower | str | os.PathLike[str] | None,
) -> Setup:
    """Model and method, with the modules that the runtime hooks into."""
    kinds = family.layer_kinds(base)
    return Setup(
        family=family,
        base=base,
        layers=family.layers(base),
        kinds=kinds,
        method=method,
        model=model,
        record=options.record,
        # those that belong to one tap
        options={"text_tower": text_tower, "backend": options.backend},
        moves=moves_of(method, kinds),
    )
