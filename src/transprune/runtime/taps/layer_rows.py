"""What enters a layer and what enters its MLP: the rows of the layer in front of a boundary."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from transprune.errors import MissingSignal
from transprune.families.layers import MLPS
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import PoolRows, Pruning, Setup, Signals, Tap, not_measured

SIGNAL = "layer_rows"


class LayerRowsTap(Tap):
    """Keeps both of the layers in front of the boundaries of the parts that announce them."""

    def __init__(self, setup: Setup) -> None:
        self._layers = setup.layers
        self._kinds = setup.kinds
        self._read: set[int] = set()  # 0-based layers

        for part in setup.method.steps:
            if SIGNAL in part.reads.signals:
                for reading in part.reads_at(setup.depth):
                    self._read.add(setup.moved(reading.boundary) - 1)

    @classmethod
    def needed(cls, setup: Setup) -> LayerRowsTap | None:
        """If a part announces them."""
        tap = cls(setup)
        return tap if tap._read else None

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks on each of these layers and on its MLP."""
        for index in sorted(self._read):
            mlp = self._kinds[index].mlp
            if mlp is None:
                raise MissingSignal(
                    f"decoder layer {index} has no MLP under a known name ({', '.join(MLPS)}), "
                    "whose input this method reads"
                )

            hooks.pruning.before(self._layers[index], partial(self._note, hooks, index, "layer"))
            hooks.pruning.before(mlp, partial(self._note, hooks, index, "mlp"))

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """Both rows of each token of a pool, [N, D] each."""
        index = call.index - 1
        if index not in self._read:
            return

        entered = state.captured.get((SIGNAL, index, "layer"))
        normed = state.captured.get((SIGNAL, index, "mlp"))
        if entered is None or normed is None:
            raise not_measured(index, "mlp")

        signals[SIGNAL] = partial(_of_pool, entered, normed)

    def prune(self, state: Pass, pruning: Pruning) -> None:
        """Nothing is read twice: what a stage has read is let go."""
        for name in ("layer", "mlp"):
            state.captured.pop((SIGNAL, pruning.call.index - 1, name), None)

    def _note(
        self, hooks: Hooks, index: int, name: str, module: nn.Module, args: Any, kwargs: Any
    ) -> None:
        state = hooks.running()
        # a frozen layer's MLP takes a few rows only, and a few rows of a prompt are no evidence
        if state is None or state.layout is None or state.cut or state.query_rows is not None:
            return

        rows: Tensor = args[0] if args else kwargs["hidden_states"]
        state.captured[SIGNAL, index, name] = rows.view(*state.layout.origin.shape, -1)


def _of_pool(entered: Tensor, normed: Tensor, pool: PoolRows) -> tuple[Tensor, Tensor]:
    """The pool's rows of both, [N, D]."""
    return entered[pool.sample, pool.rows], normed[pool.sample, pool.rows]
