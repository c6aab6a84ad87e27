"""The visual and instruction tokens as they entered layer 0, for methods that compare the two."""

from __future__ import annotations

from torch import Tensor

from transprune.core.layout import Layout
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.pools import images_of
from transprune.runtime.taps.base import PoolRows, Setup, Signals, Tap

SIGNAL = "embeddings"


class EmbeddingTap(Tap):
    """Keeps the rows that enter layer 0, after a stage in front of the language model."""

    @classmethod
    def needed(cls, setup: Setup) -> EmbeddingTap | None:
        """If some reading announces them."""
        announced = any(reading.embeddings for reading in setup.readings.values())
        return cls() if announced else None

    def enter(self, state: Pass, hidden: Tensor) -> None:
        """Note the rows and where they stand: later stages have fewer."""
        # a reference, not a copy: the layers make new tensors
        state.captured[SIGNAL] = (hidden, state.layout)

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """At every boundary behind layer 0."""
        if SIGNAL not in state.captured:
            return
        hidden, layout = state.captured[SIGNAL]
        signals[SIGNAL] = lambda pool: _embeddings(hidden, layout, pool)


def _embeddings(hidden: Tensor, layout: Layout, pool: PoolRows) -> tuple[Tensor, Tensor]:
    """Visual tokens of the pool's images, and instruction tokens. -> [N0, D], [T, D]."""
    sample = pool.sample
    # all that entered layer 0, also those that a later stage dropped
    visual = layout.visual_rows(sample)
    if pool.image >= 0:
        visual = dict(images_of(layout, sample, visual))[pool.image]

    instruction = layout.instruction_rows(sample)
    return hidden[sample, visual], hidden[sample, instruction]
