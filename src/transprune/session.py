"""`prune(model, method)`: the one door to everything."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from torch import nn

from transprune.core.plan import per_layer_widths
from transprune.cost.geometry import Geometry
from transprune.errors import MethodError, PositionsError, SessionError
from transprune.families import Family, find_family
from transprune.methods.common.method import POSITIONS, Method, Positions
from transprune.methods.common.recipe import resolve
from transprune.runtime.engine import Engine
from transprune.runtime.forward_pass import Pass
from transprune.runtime.stage import Pool
from transprune.runtime.taps.text_tower import TextTower, find_text_tower
from transprune.trace import Trace

RECORDS = ("scores", "transitions", "changes")
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
) -> Session:
    """A session that prunes `model` with `method` while it is attached.

        with prune(model, TransPrune.high()) as session:
            out = model.generate(**inputs)
        print(session.trace)

    Args:
        model: an unmodified transformers vision-language model of a known family; PEFT wrappers are fine.
        method: a Method, a preset or recipe text (`"transprune-high"`, `"fastv:layer=3,keep_ratio=0.25"`,
            `"visionzip:keep=192+transprune-low"`), or a recipe file or folder.
        positions: position ids of the survivors, `"keep"` or `"renumber"`; None lets each method do as its own code.
        pool: `"sample"` ranks all visual tokens of a sample together, `"image"` each image by the same ratio.
        record: what the trace carries besides the kept tokens: `"scores"`, `"transitions"` of the observed layers,
            `"changes"` of all layers.
        text_tower: the text half of the model's CLIP, for methods that compare patches with the question (CDPruner): a
            folder or hub id such as `"openai/clip-vit-large-patch14-336"`, or a `TextTower`.
            None looks into `clip/` beside the checkpoint.

    Returns:
        A Session, not yet attached: use it in a `with`, or call `attach()` and `detach()`.

    Raises:
        UnknownMethod, RecipeError, ScheduleError, MethodError: the method, or its fit to this depth.
        UnknownFamily, MissingSignal: the model.
        PositionsError: renumbering asked for under M-RoPE.
    """
    return Session(
        model, method, positions=positions, pool=pool, record=record, text_tower=text_tower
    )


class Session:
    """One method on one model. Attaching registers hooks, detaching removes every one; the model stays as it was."""

    def __init__(
        self,
        model: nn.Module,
        method: Method | str | os.PathLike[str],
        *,
        positions: Positions | None = None,
        pool: Pool = "sample",
        record: Iterable[str] = (),
        text_tower: TextTower | str | os.PathLike[str] | None = None,
    ) -> None:
        self.method: Method = resolve(method)
        self.family: Family = find_family(model)
        self._base = self.family.base(model)
        self._config: Any = self._base.config
        self.geometry = Geometry.from_config(self._config)
        self._policies = _policies(self.method, self.family, positions)
        self.method.plan(
            self.geometry.layers, self.geometry.visual_tokens
        )  # raises here what would fail later
        if pool not in ("sample", "image"):
            raise MethodError(f"pool is 'sample' or 'image'; got {pool!r}")
        records = frozenset([record] if isinstance(record, str) else record)
        if unknown := sorted(records - set(RECORDS)):
            raise MethodError(
                f"record takes {', '.join(map(repr, RECORDS))}; got {', '.join(map(repr, unknown))}"
            )
        tower: TextTower | None = None
        if any(step.reads.question for step in self.method.steps) and self.family.speaks_clip(
            self._base
        ):
            tower = find_text_tower(text_tower, self._base, self._config)
        self._engine = Engine(
            self.family,
            self._base,
            self.method,
            self._policies,
            pool,
            records,
            self._publish,
            tower,
        )
        self._stack: ExitStack | None = None
        self._latest: Trace | None = None
        self._own = threading.local()

    @property
    def trace(self) -> Trace:
        """What the last prefill kept: of the calling thread, or of any if this thread has run none.

        Raises:
            SessionError: nothing has run yet.
        """
        trace = getattr(self._own, "trace", None) or self._latest
        if trace is None:
            raise SessionError(
                "no trace yet: call the model, or model.generate, inside the session first"
            )
        return trace

    @property
    def attached(self) -> bool:
        """Is the model being pruned now?"""
        return self._stack is not None

    def attach(self) -> Session:
        """Start pruning; returns itself.

        Raises:
            SessionError: this or another session is attached to the model already.
        """
        with _attached_lock:
            if self._base in _attached:
                raise SessionError(
                    "this model is being pruned already; leave that session first, or put both methods into one Compose"
                )
            with ExitStack() as stack:
                self._engine.attach(stack)
                self._stack = stack.pop_all()  # reached only if every hook could be registered
            _attached.add(self._base)
        return self

    def detach(self) -> None:
        """Stop pruning and remove every hook. Harmless when not attached."""
        with _attached_lock:
            if self._stack is not None:
                self._stack.close()
                self._stack = None
                _attached.discard(self._base)

    def __enter__(self) -> Session:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def __repr__(self) -> str:
        state = "attached" if self.attached else "not attached"
        return f"<Session of {self.method!r} on {self.family.name}, {state}>"

    def _publish(self, state: Pass, cache: Any) -> None:
        self._latest = self._own.trace = self._trace(state, cache)

    def _trace(self, state: Pass, cache: Any) -> Trace:
        layout, layers = state.prompt, self.geometry.layers
        dtype = next(self._base.parameters()).dtype
        widths = per_layer_widths(layers, state.length, state.widths)
        if cache is not None:  # earlier turns are in there too
            widths = tuple(layer.keys.shape[-2] for layer in cache.layers[:layers])
        entries = sum(widths) * state.batch
        notes = [
            *self.method.notes(layers),
            *_position_notes(self.method, self._policies),
            *state.notes,
        ]
        if layout is None:
            notes = ["no image in the prompt: ran unpruned"]
        return Trace(
            method=repr(self.method),
            family=self.family.name,
            positions="+".join(self._policies),
            visual_tokens=layout.visual_counts if layout else (0,) * state.batch,
            text_tokens=layout.text_counts if layout else (state.length,) * state.batch,
            instruction_tokens=layout.instruction_counts
            if layout
            else (state.length,) * state.batch,
            stages=tuple(state.stages),
            kv_lengths=widths,
            kv_bytes=2 * entries * self.geometry.kv_width * dtype.itemsize,
            notes=tuple(notes),
            geometry=self.geometry,
            readings=self.method.reads_at(layers),
            frozen=self.method.frozen(layers),
            transitions={key: tuple(samples) for key, samples in state.transitions.items()},
            changes={key: tuple(samples) for key, samples in state.changes.items()},
            dtype=str(dtype).removeprefix("torch."),
            dtype_bytes=dtype.itemsize,
            attention=str(self.family.decoder(self._base).config._attn_implementation),
        )


def _policies(method: Method, family: Family, positions: Positions | None) -> tuple[Positions, ...]:
    """The position policy of each part: what the caller says, else what the part says, else its own code's."""
    if positions is not None and positions not in POSITIONS:
        raise MethodError(f"positions is 'keep', 'renumber' or None; got {positions!r}")
    asked = [positions or part.positions for part in method.steps]
    if family.mrope and "renumber" in asked:
        raise PositionsError(
            f"{family.title} has M-RoPE positions (time, height, width), for which renumbering by count has no "
            "definition; use positions='keep', which is also the default there"
        )
    keep: Positions = "keep"
    if family.mrope:
        return (keep,) * len(asked)
    return tuple(wish or part.policy for wish, part in zip(asked, method.steps, strict=True))


def _position_notes(method: Method, policies: tuple[Positions, ...]) -> list[str]:
    return [
        f"{part.name}: positions '{policy}', where its own code would '{part.default_positions}'"
        for part, policy in zip(method.steps, policies, strict=True)
        if policy != part.default_positions
    ]
