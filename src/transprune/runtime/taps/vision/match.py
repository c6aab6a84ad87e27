"""Which row of the projector's output became which visual token."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from transprune.algebra.select import match_rows, same_rows
from transprune.core.layout import Layout
from transprune.core.signals import VisionSignals
from transprune.runtime.taps.base import PoolRows
from transprune.runtime.taps.vision.captured import Captured


class Prefill:
    """The captures of one prefill, as a function from a pool to its signals.

    Tokens are matched with the projector's rows by content, for the whole batch at the first call:
    a picture that is in the batch twice has the same rows twice, and only the order of the prompt
    tells which are whose.

    Args:
        join: returns what was captured; called once, by the first pool.
        signals_of: captured, projector rows of a pool's tokens (-1 for none) -> their signals.

    Attributes:
        prompt: layout and rows [B, L, D] of the prompt before anything was pruned.
    """

    def __init__(
        self,
        join: Callable[[], Captured],
        signals_of: Callable[[Captured, Tensor], VisionSignals],
    ) -> None:
        self.prompt: tuple[Layout, Tensor] | None = None
        self._join = join
        self._signals_of = signals_of
        self._captured: Captured | None = None
        self._rows: list[Tensor] = []

    def __call__(self, pool: PoolRows) -> VisionSignals:
        """Signals of the pool's tokens."""
        if self._captured is None:
            self._captured = self._join()
            self._rows = self._match(self._captured.rows)

        # by number: tokens that an earlier stage dropped must not shift the copies
        index = self._rows[pool.sample][pool.layout.token[pool.sample, pool.rows]]
        # a token that was merged since is no patch any more
        states = pool.states
        source = self._captured.rows.to(states)[index.clamp(min=0)]
        unchanged = (index >= 0) & same_rows(states, source)
        return self._signals_of(self._captured, torch.where(unchanged, index, -1))

    def _match(self, source: Tensor) -> list[Tensor]:
        """The projector row of every visual token, per sample. long [N]."""
        assert self.prompt is not None
        layout, hidden = self.prompt
        self.prompt = None

        rows = [hidden[sample, layout.visual_rows(sample)] for sample in range(layout.batch)]
        # beams repeat a sample after its images were encoded
        repeats = [False] * len(rows)
        if sum(layout.visual_counts) > len(source):
            repeats[1:] = [torch.equal(a, b) for a, b in itertools.pairwise(rows)]

        own = [of_sample for of_sample, again in zip(rows, repeats, strict=True) if not again]
        found = match_rows(torch.cat(own), source.to(hidden))
        numbers = iter(found.split([len(of_sample) for of_sample in own]))

        matched: list[Tensor] = []
        for again in repeats:
            matched.append(matched[-1] if again else next(numbers))
        return matched
