"""How each token changes in a layer: evidence for methods and for the trace.

A method gathers this evidence (`carry`) between boundaries. It belongs to the pass: one number per
running row, re-indexed at every stage. Behind each module only norms and products are taken; what a
method makes of them is computed for all layers of a stage together, in front of its boundary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.transitions import Transitions, compare, products_of, transition_of
from transprune.errors import MissingSignal
from transprune.families.layers import MLPS
from transprune.methods.common.method import LayerPruner, Method
from transprune.runtime.forward_pass import Pass
from transprune.runtime.fused import fused
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.record import RecordedChange
from transprune.runtime.taps.base import Pruning, Setup, Signals, Tap, not_measured

MEASURED = "measured"  # 1-based layers of this pass
WAITING = "waiting"  # (1-based layer, its two modules) since the last boundary

# norms and product of a module, or magnitude and cosine
Measured = tuple[Tensor, ...]


class TransitionTap(Tap):
    """Measures mixer and MLP of the layers that some part of the method observes.

    With `record=("changes",)` it measures those of all layers.
    """

    def __init__(self, setup: Setup) -> None:
        self._kinds = setup.kinds
        # compiled, magnitude and cosine come at once; else the comparison waits for the boundary
        backend = setup.options.get("backend")
        self._measure = fused(transition_of if backend else products_of, backend)
        self._record_transitions = "transitions" in setup.record
        self._record_changes = "changes" in setup.record

        # 1-based layer, as TransPrune counts them -> (part number, part)
        self._observers: dict[int, list[tuple[int, Method]]] = {}
        for number, part in enumerate(setup.method.steps):
            if isinstance(part, LayerPruner):
                for layer in part.observed(setup.depth):
                    self._observers.setdefault(layer, []).append((number, part))

        self._tapped = sorted(self._observers)
        if self._record_changes:
            self._tapped = list(range(1, setup.depth + 1))

    @classmethod
    def needed(cls, setup: Setup) -> TransitionTap | None:
        """If a part observes layers, or changes are recorded."""
        tap = cls(setup)
        return tap if tap._tapped else None

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks on both modules of each tapped layer."""
        for number in self._tapped:
            kind = self._kinds[number - 1]
            if kind.mlp is None:
                raise MissingSignal(
                    f"decoder layer {number - 1} has no MLP under a known name "
                    f"({', '.join(MLPS)}), whose transitions this method reads"
                )

            mixer = partial(self._after_mixer, hooks, number)
            mlp = partial(self._after_mlp, hooks, number)
            hooks.pruning.after(kind.mixer, mixer, with_kwargs=True)
            hooks.pruning.after(kind.mlp, mlp, with_kwargs=True)

    def begin(self, state: Pass) -> None:
        """Start with empty evidence for every part that observes."""
        assert state.layout is not None
        state.captured[MEASURED] = set()
        state.captured[WAITING] = []

        numbers = {number for observers in self._observers.values() for number, _ in observers}
        for number in numbers:
            state.carries[number] = torch.zeros(
                state.layout.origin.shape, dtype=torch.float32, device=state.layout.origin.device
            )

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Give the evidence to the methods; it must be complete."""
        self._check_measured(state, call.index)
        self._observe(state)

    def end(self, state: Pass) -> None:
        """All tapped layers were measured."""
        self._check_measured(state, len(self._kinds))
        self._observe(state)

    def _check_measured(self, state: Pass, ran: int) -> None:
        """Raise MissingSignal unless the tapped ones of the first `ran` layers were measured."""
        for number in self._tapped:
            if number <= ran and number not in state.captured[MEASURED]:
                raise not_measured(number - 1, "mlp")

    def prune(self, state: Pass, pruning: Pruning) -> None:
        """Keep the evidence of the surviving rows only."""
        for part, carry in state.carries.items():
            state.carries[part] = carry.gather(1, pruning.index)

    def _after_mixer(
        self, hooks: Hooks, layer: int, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        state = hooks.running()
        if state is not None and state.layout is not None and not state.cut:
            state.captured["attention", layer] = self._measured(state, args, kwargs, output)

    def _after_mlp(
        self, hooks: Hooks, layer: int, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        state = hooks.running()
        if state is None or state.layout is None:
            return
        if state.cut:  # a few rows of a prompt are no evidence about the others
            state.captured[MEASURED].add(layer)
            return

        # the MLP runs last in a layer, so both halves are known here
        attention = state.captured.pop(("attention", layer), None)
        if attention is None:
            raise not_measured(layer - 1, "self_attn")

        mlp = self._measured(state, args, kwargs, output)
        state.captured[MEASURED].add(layer)
        state.captured[WAITING].append((layer, attention, mlp))

    def _measured(self, state: Pass, args: Any, kwargs: Any, output: Any) -> Measured:
        """What is kept of a module: norms and product [B, L], or magnitude and cosine.

        Its input is normalised already, and its output not yet added back to the residual stream.
        """
        # attention is called with keywords and returns a tuple, an MLP gets and returns one tensor
        before = args[0] if args else kwargs["hidden_states"]
        after = output[0] if isinstance(output, tuple) else output
        found: Measured = self._measure(before, after.view_as(before))

        # a frozen layer computed its query rows only
        if state.query_rows is not None:
            change = found if len(found) == 2 else compare(*found)
            spread: Measured = state.query_rows.spread(change)
            return spread

        return found

    def _observe(self, state: Pass) -> None:
        """Record what was measured since the last boundary, and let each observing part gather it."""
        waiting = state.captured[WAITING]
        if not waiting:
            return

        state.captured[WAITING] = []

        layout = state.layout
        assert layout is not None
        transitions = _join(waiting, layout)
        if self._record_changes:
            _record_changes(state, transitions, layout)

        # each part of a composition has evidence of its own, of the layers that it observes
        for number, part in self._parts():
            seen = [layer for layer in transitions.layers if self._observes(number, layer)]
            if seen:
                own = transitions.of_layers(seen)
                state.carries[number] = _gather(part, own, state.carries[number], layout)
                if self._record_transitions:
                    _record_scores(state, part, own, layout)

    def _parts(self) -> list[tuple[int, Method]]:
        """Every part that observes, with its number."""
        parts = {number: part for found in self._observers.values() for number, part in found}
        return sorted(parts.items())

    def _observes(self, number: int, layer: int) -> bool:
        """Whether part `number` observes this 1-based layer."""
        return any(number == own for own, _ in self._observers.get(layer, ()))


def _join(waiting: list[tuple[int, Measured, Measured]], layout: Layout) -> Transitions:
    """The modules of several layers, compared together."""
    layers = [layer for layer, *_ in waiting]
    modules = [module for _, *both in waiting for module in both]
    if all(len(module) == 3 for module in modules):
        flat = [vector for module in modules for vector in module]
        stacked = torch.stack(flat).view(len(layers), 2, 3, *flat[0].shape)  # [M, 2, 3, B, L]
        magnitude, cosine = compare(*stacked.unbind(2))
    else:
        pairs = [module if len(module) == 2 else compare(*module) for module in modules]
        stacked = torch.stack([vector for pair in pairs for vector in pair])
        magnitude, cosine = stacked.view(len(layers), 2, 2, *pairs[0][0].shape).unbind(2)

    return Transitions(layers, magnitude, cosine, layout.visual, _prompt_rows(layout))


def _prompt_rows(layout: Layout) -> Tensor | None:
    """Rows of the prompt, bool [B, L]; None where all are."""
    if layout.dense and not layout.drafts:
        return None
    prompt = layout.valid.clone()
    prompt[:, layout.rows_total - layout.drafts :] = False
    return prompt


def _gather(part: Method, transitions: Transitions, carry: Tensor, layout: Layout) -> Tensor:
    """The evidence [B, L] with what these layers show."""
    if isinstance(part, LayerPruner) and part.batched:
        return part.observe_layers(transitions, carry)

    gathered = torch.zeros_like(carry)
    for sample in range(layout.batch):
        rows = layout.prompt_rows(sample)
        own = transitions.of_rows(sample, rows)
        gathered[sample, rows] = part.observe_layers(own, carry[sample, rows])

    return gathered


def _record_changes(state: Pass, transitions: Transitions, layout: Layout) -> None:
    """Magnitude and cosine of each module, before any method weighs them."""
    both = torch.stack([transitions.magnitude, transitions.cosine], dim=2)  # [M, 2, 2, B, L]
    for number, layer in enumerate(transitions.layers):
        for module, name in enumerate(("attention", "mlp")):
            values = both[number, module]
            state.record.changes.append(RecordedChange(layer, name, layout, values))


def _record_scores(state: Pass, part: Method, transitions: Transitions, layout: Layout) -> None:
    """What the method makes of each module."""
    for number, layer in enumerate(transitions.layers):
        if isinstance(part, LayerPruner) and part.batched:
            tables = part.transition_scores(transitions.of(number))
        else:
            tables = {}
            for sample in range(layout.batch):
                rows = layout.prompt_rows(sample)
                own = transitions.of_rows(sample, rows)
                for name, scores in part.transition_scores(own.of(number)).items():
                    table = tables.setdefault(name, torch.zeros_like(transitions.cosine[0, 0]))
                    table[sample, rows] = scores

        for name, values in tables.items():
            state.record.transitions.append(RecordedChange(layer, name, layout, values))
