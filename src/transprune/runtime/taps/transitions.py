"""How each token changes in a layer: evidence for methods and for the trace.

A method gathers this evidence (`carry`) between boundaries. It belongs to the pass: one vector per
sample over its real rows, given to the method after each observed layer and re-indexed at every
stage.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.views import LayerTransitions, Transition, transition_of
from transprune.methods.common.method import LayerPruner, Method
from transprune.runtime.forward_pass import Pass, Recorded
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import Pruning, Setup, Signals, Tap, not_measured

MEASURED = "measured"  # 1-based layers of this pass


class TransitionTap(Tap):
    """Measures `self_attn` and `mlp` of the layers that some part of the method observes.

    With `record=("changes",)` it measures those of all layers.
    """

    def __init__(self, setup: Setup) -> None:
        self._layers = setup.layers
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
            layer = self._layers[number - 1]
            attention = partial(self._after_attention, hooks, number)
            mlp = partial(self._after_mlp, hooks, number)
            hooks.after(layer.self_attn, attention, with_kwargs=True)
            hooks.after(layer.mlp, mlp, with_kwargs=True)

    def begin(self, state: Pass) -> None:
        """Start with empty evidence for every part that observes."""
        layout = state.layout
        assert layout is not None
        device = layout.valid.device
        state.captured[MEASURED] = set()

        for observers in self._observers.values():
            for number, _ in observers:
                state.carries[number] = [
                    torch.zeros(rows - layout.drafts, dtype=torch.float32, device=device)
                    for rows in layout.lengths
                ]

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Nothing to offer: evidence is given to its method. It must be complete, though."""
        self._check_measured(state, call.index)

    def end(self, state: Pass) -> None:
        """All tapped layers were measured."""
        self._check_measured(state, len(self._layers))

    def _check_measured(self, state: Pass, ran: int) -> None:
        """Raise MissingSignal unless the tapped ones of the first `ran` layers were measured."""
        for number in self._tapped:
            if number <= ran and number not in state.captured[MEASURED]:
                raise not_measured(number - 1, "mlp")

    def prune(self, state: Pass, pruning: Pruning) -> None:
        """Keep the evidence of the surviving rows only."""
        layout = state.layout
        assert layout is not None
        index = pruning.index

        for carries in state.carries.values():
            # carries hold the prompt's real rows, no fillers; `index` names rows of the batch
            for sample, carry in enumerate(carries):
                fillers = index.shape[1] - layout.lengths[sample]
                rows = index[sample, fillers : index.shape[1] - layout.drafts]
                before = pruning.before.prompt_rows(sample)
                carries[sample] = carry[torch.searchsorted(before, rows)]

    def _after_attention(
        self, hooks: Hooks, layer: int, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        state = hooks.running()
        if state is not None and state.layout is not None:
            state.captured["attention", layer] = _measure(state, args, kwargs, output)

    def _after_mlp(
        self, hooks: Hooks, layer: int, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        state = hooks.running()
        if state is None or state.layout is None:
            return

        # the MLP runs last in a layer, so both halves are known here
        attention = state.captured.pop(("attention", layer), None)
        if attention is None:
            raise not_measured(layer - 1, "self_attn")
        state.captured[MEASURED].add(layer)
        mlp = _measure(state, args, kwargs, output)
        for sample in range(state.layout.batch):
            rows = state.layout.prompt_rows(sample)
            step = LayerTransitions(
                _of_sample(attention, sample, rows, state.layout),
                _of_sample(mlp, sample, rows, state.layout),
            )
            self._observe(state, layer, sample, rows, step)

    def _observe(
        self, state: Pass, layer: int, sample: int, rows: Tensor, step: LayerTransitions
    ) -> None:
        """Record what was measured, and let each part that observes this layer gather it."""
        record = state.record
        if self._record_changes:
            _write(state, record.changes, layer, sample, rows, _changes(step))

        for number, part in self._observers.get(layer, ()):
            carries = state.carries[number]
            carries[sample] = part.observe(layer, step, carries[sample])
            if self._record_transitions:
                scores = part.transition_scores(step)
                _write(state, record.transitions, layer, sample, rows, scores)


def _measure(state: Pass, args: Any, kwargs: Any, output: Any) -> tuple[Tensor, Tensor]:
    """Magnitude and cosine [B, L] of a module.

    Its input is normalised already, and its output not yet added back to the residual stream.
    """
    # attention is called with keywords and returns a tuple, an MLP gets and returns one tensor
    before = args[0] if args else kwargs["hidden_states"]
    after = output[0] if isinstance(output, tuple) else output
    change = transition_of(before, after.view_as(before))

    # a frozen layer computed its query rows only
    if state.query_rows is not None:
        spread: tuple[Tensor, Tensor] = state.query_rows.spread(change)
        return spread
    return change


def _of_sample(
    change: tuple[Tensor, Tensor], sample: int, rows: Tensor, layout: Layout
) -> Transition:
    magnitude, cosine = change
    return Transition(magnitude[sample, rows], cosine[sample, rows], layout.visual[sample, rows])


def _changes(step: LayerTransitions) -> dict[str, Tensor]:
    """Magnitude and cosine of each module, float32 [2, L], before any method weighs them."""
    return {
        "attention": torch.stack([step.attention.magnitude, step.attention.cosine]),
        "mlp": torch.stack([step.mlp.magnitude, step.mlp.cosine]),
    }


def _write(
    state: Pass,
    into: Recorded,
    layer: int,
    sample: int,
    rows: Tensor,
    measured: dict[str, Tensor],
) -> None:
    """Write what was measured, [..., rows], at the prompt slots of the rows that still run."""
    layout = state.layout
    assert layout is not None
    slots = layout.origin[sample, rows].cpu()

    for module, values in measured.items():
        # a slot stays NaN where it is padding or its token has been dropped
        samples = into.setdefault((layer, module), [])
        if len(samples) <= sample:
            shape = (*values.shape[:-1], state.length)
            samples.append(torch.full(shape, float("nan"), dtype=torch.float32))
        samples[sample][..., slots] = values.detach().cpu()
