"""The base class of methods that evict visual keys from the cache, behind the prefill.

No token is dropped and no work of the prefill is saved: every layer runs on all tokens, and the
logits of the prompt are those of the unpruned model. What becomes smaller is the cache, and with it
every step of decoding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from transprune.core.cache_view import CacheView, HeadRanking
from transprune.core.plan import Eviction, Reading, Stage
from transprune.core.signals import Reads
from transprune.methods.common.method import Method

PREFILL_UNCHANGED = (
    "the prompt costs its full work: visual keys and values are evicted from the cache behind it, "
    "so only memory and decoding get cheaper"
)


@dataclass(frozen=True)
class CachePruner(Method):
    """A method that chooses, in each layer, which visual keys every key/value head keeps.

    A subclass names the `layers`, says how many keys may stay (`counts`), and ranks them (`rank`).
    What it reads of attention it announces by `rows` in its `reads`.
    """

    kind: ClassVar[str] = "cache"
    reads: ClassVar[Reads] = Reads(rows="last")

    @abstractmethod
    def layers(self, num_layers: int) -> tuple[int, ...]:
        """The 0-based decoder layers whose cache is evicted from, ascending.

        Raises:
            ScheduleError: a layer that the model does not have.
        """

    @abstractmethod
    def counts(self, layer: int, visual_tokens: int) -> tuple[int, ...]:
        """How many of `visual_tokens` keys a head of this layer keeps, 1..visual_tokens.

        Several numbers where the data decide; `rank` then says which one.
        """

    @abstractmethod
    def rank(self, view: CacheView) -> HeadRanking:
        """Rank the visual keys of one layer for each head."""

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """No stage: no token is dropped anywhere."""
        self.layers(num_layers)  # raises if they do not fit this model
        return ()

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Nothing at a boundary: layers are read behind themselves (`evicts`)."""
        return ()

    def evicts(self, num_layers: int, visual: Sequence[int]) -> tuple[Eviction, ...]:
        """One per layer in which something goes."""
        found = []
        for layer in self.layers(num_layers):
            counts = self.counts(layer, visual[layer])
            if visual[layer] and min(counts) < visual[layer]:
                found.append(Eviction(layer, counts, self.reads.rows))
        return tuple(found)

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """That the prefill is as it was."""
        return (PREFILL_UNCHANGED,)
