"""The rows of the instruction as they enter the layer behind a boundary."""

from __future__ import annotations

from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import Setup, Signals, Tap

SIGNAL = "instruction_rows"


class InstructionTap(Tap):
    """Offers them at every boundary; nothing has to be captured."""

    @classmethod
    def needed(cls, setup: Setup) -> InstructionTap | None:
        """If some part of the method announces it."""
        announced = any(SIGNAL in step.reads.signals for step in setup.method.steps)
        return cls() if announced else None

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """The rows of every token behind the last visual one. [T, D]."""
        layout = state.layout
        assert layout is not None
        hidden = call.hidden
        signals[SIGNAL] = lambda pool: hidden[pool.sample, layout.instruction_rows(pool.sample)]
