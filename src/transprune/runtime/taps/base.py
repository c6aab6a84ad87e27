"""What every tap is: hooks that capture one kind of signal for the methods that announced it.

A new signal is one new file with a subclass of `Tap`, and its name in the list `TAPS` of the
engine. The engine asks each class whether the session needs it, attaches those that are needed, and
calls them at the five moments below. Methods read what a tap offers through `view.read(name)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.plan import Reading
from transprune.errors import MissingSignal
from transprune.families.base import Family
from transprune.families.layers import LayerKind
from transprune.methods.common.method import Method
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.pools import PoolRows as PoolRows
from transprune.runtime.stage_result import StageResult


@dataclass(frozen=True)
class Setup:
    """What a session knows before anything runs.

    Attributes:
        family, base: the model's family, and the module that merges features and calls the decoder.
        layers: the decoder layers that run.
        kinds: what each of them is.
        method: what is run.
        model: what `prune` was given, with its wrappers.
        record: names of what the trace carries besides the kept tokens.
        options: options of `prune` that belong to one tap, by name (`"text_tower"`).
        moves: boundary of the method -> where it acts in this model, for those that moved.
    """

    family: Family
    base: Any
    layers: list[Any]
    kinds: list[LayerKind]
    method: Method
    model: nn.Module
    record: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    moves: Mapping[int, int] = field(default_factory=dict)

    def moved(self, boundary: int) -> int:
        """Where a boundary of the method is in this model."""
        return self.moves.get(boundary, boundary)

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def readings(self) -> dict[int, Reading]:
        """What is read at each boundary."""
        readings = {}
        # recording the changes of a layer shows all of its rows
        whole = "changes" in self.record
        for reading in self.method.reads_at(self.depth):
            boundary = self.moved(reading.boundary)
            inside = reading.inside and not whole
            readings[boundary] = replace(reading, boundary=boundary, inside=inside)

        return readings


Signal = Callable[[Any], Any]  # of a PoolRows, or of a PoolGroup where the method takes several
Signals = dict[str, Signal]


@dataclass(frozen=True)
class Pruning:
    """One stage that changed the rows.

    Attributes:
        call: the layer behind the boundary, with the rows that arrived.
        before: their layout; that of the survivors is in the pass.
        result: what was chosen.
        index: long [B, P], the rows that stay; fillers on the left.
        signals: what the taps offered at this stage.
    """

    call: LayerCall
    before: Layout
    result: StageResult
    index: Tensor
    signals: Signals


class Tap:
    """Hooks that capture one kind of signal. Every moment has a default that does nothing."""

    @classmethod
    def needed(cls, setup: Setup) -> Tap | None:
        """The tap for this session, or None if nothing in it reads this signal.

        Raises:
            MissingSignal: a method announced the signal, and this model does not have it.
        """
        raise NotImplementedError

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks: on the language model with `hooks.pruning`, elsewhere with `hooks`."""

    def begin(self, state: Pass) -> None:
        """Prepare for a prefill with visual tokens, whose layout is known."""

    def enter(self, state: Pass, hidden: Tensor) -> None:
        """Note the rows [B, L, D] that enter layer 0 of a prefill with visual tokens."""

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Add to `signals` what this tap offers at the boundary in front of `call`."""

    def prune(self, state: Pass, pruning: Pruning) -> None:
        """Follow a stage that changed the rows."""

    def memory(self, state: Pass) -> Any:
        """What a later prefill of the same pictures needs of this one; None for nothing."""

    def recall(self, memory: Any) -> None:
        """Take back such a memory, in front of that prefill."""

    def end(self, state: Pass) -> None:
        """Check, behind the last layer of such a prefill, that everything announced was measured.

        Raises:
            MissingSignal: a tapped module did not run in a layer that ran.
        """


def not_measured(layer: int, module: str) -> MissingSignal:
    """The error for a tapped module that did not run in decoder layer `layer` (0-based)."""
    return MissingSignal(
        f"decoder layer {layer} ran without calling its {module}, which this method reads; was its "
        "forward replaced (fused kernels, a patched class)? Use the model as transformers builds "
        "it, or a method that does not read it (`transprune methods`)."
    )
