"""How each token changes in a layer: evidence for methods that gather it between boundaries, and for the trace.

The evidence (`carry`) belongs to the pass: one vector per sample over its real rows, handed to the method after each
observed layer and re-indexed at every stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.views import LayerTransitions, Transition, transition_of
from transprune.methods.common.method import LayerPruner, Method
from transprune.runtime.forward_pass import Pass, Recorded


class Observer:
    """Taps on `self_attn` and `mlp` of the layers that some part of the method observes; of all, to record changes."""

    def __init__(self, method: Method, num_layers: int, record: frozenset[str]) -> None:
        self._record_transitions, self._record_changes = (
            "transitions" in record,
            "changes" in record,
        )
        self._observers: dict[
            int, list[tuple[int, Method]]
        ] = {}  # 1-based layer -> (part number, part)
        for number, part in enumerate(method.steps):
            for layer in part.observed(num_layers) if isinstance(part, LayerPruner) else ():
                self._observers.setdefault(layer, []).append((number, part))
        self._tapped = range(1, num_layers + 1) if self._record_changes else tuple(self._observers)

    def attach(
        self,
        layers: Sequence[nn.Module],
        state: Callable[[], Pass | None],
        after: Callable[..., None],
    ) -> None:
        """Register the taps; `state` gives the running pass of the calling thread."""
        for number in self._tapped:
            layer = layers[number - 1]
            after(layer.self_attn, partial(self._see_attention, number, state), with_kwargs=True)
            after(layer.mlp, partial(self._see_mlp, number, state), with_kwargs=True)

    def begin(self, state: Pass) -> None:
        """Empty evidence for every part that observes."""
        layout = state.layout
        assert layout is not None
        numbers = {number for observers in self._observers.values() for number, _ in observers}
        state.carries = {
            n: [torch.zeros(k, device=layout.valid.device) for k in layout.lengths] for n in numbers
        }

    def prune(self, state: Pass, before: Layout, index: Tensor) -> None:
        """Keep the evidence of the rows `index` [B, P] only."""
        for carries in state.carries.values():
            for sample, carry in enumerate(carries):
                assert state.layout is not None
                rows = index[sample, index.shape[1] - state.layout.lengths[sample] :]
                carries[sample] = carry[torch.searchsorted(before.rows(sample), rows)]

    def _see_attention(
        self,
        layer: int,
        state: Callable[[], Pass | None],
        module: nn.Module,
        args: Any,
        kwargs: Any,
        output: Any,
    ) -> None:
        running = state()
        if running is not None and running.layout is not None:
            running.taps["attention", layer] = _measure(running, args, kwargs, output)

    def _see_mlp(
        self,
        layer: int,
        state: Callable[[], Pass | None],
        module: nn.Module,
        args: Any,
        kwargs: Any,
        output: Any,
    ) -> None:
        running = state()
        if running is None or running.layout is None:
            return
        attention = running.taps.pop(("attention", layer))
        mlp = _measure(running, args, kwargs, output)
        layout = running.layout
        for sample in range(layout.batch):
            rows = layout.rows(sample)
            step = LayerTransitions(
                *(_of_sample(change, sample, rows, layout) for change in (attention, mlp))
            )
            if self._record_changes:
                _record(running, running.changes, layer, sample, rows, _changes(step))
            for number, part in self._observers.get(layer, ()):
                carries = running.carries[number]
                carries[sample] = part.observe(layer, step, carries[sample])
                if self._record_transitions:
                    _record(
                        running,
                        running.transitions,
                        layer,
                        sample,
                        rows,
                        part.transition_scores(step),
                    )


def _measure(state: Pass, args: Any, kwargs: Any, output: Any) -> tuple[Tensor, Tensor]:
    """Magnitude and cosine [B, L] of a module whose input is normalised and whose output is not yet added back."""
    before = args[0] if args else kwargs["hidden_states"]
    after = output[0] if isinstance(output, tuple) else output
    change = transition_of(before, after.view_as(before))
    return change if state.asking is None else state.asking.spread(change)


def _of_sample(
    change: tuple[Tensor, Tensor], sample: int, rows: Tensor, layout: Layout
) -> Transition:
    magnitude, cosine = (values[sample, rows] for values in change)
    return Transition(magnitude, cosine, layout.visual[sample, rows])


def _changes(step: LayerTransitions) -> dict[str, Tensor]:
    """Magnitude and cosine of each module, float32 [2, L], before any method makes something of them."""
    modules = {"attention": step.attention, "mlp": step.mlp}
    return {
        name: torch.stack([change.magnitude, change.cosine]) for name, change in modules.items()
    }


def _record(
    state: Pass, into: Recorded, layer: int, sample: int, rows: Tensor, measured: dict[str, Tensor]
) -> None:
    """Write what was measured, [..., rows], at the prompt slots of the rows that still run."""
    layout = state.layout
    assert layout is not None
    for module, values in measured.items():
        samples = into.setdefault((layer, module), [])
        if len(samples) <= sample:
            samples.append(torch.full((*values.shape[:-1], state.length), float("nan")))
        samples[sample][..., layout.origin[sample, rows].cpu()] = values.detach().cpu()
