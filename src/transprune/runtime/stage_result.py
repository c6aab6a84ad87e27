"""What a stage chose for a batch: which rows go, and what becomes of those that stay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from transprune.trace import TraceStage


@dataclass(frozen=True)
class StageResult:
    """What a stage chose for the batch.

    Attributes:
        dropped: per sample, the rows that go. long [n].
        features: per sample, [k, D] to put in the place of the visual rows that stay, or None.
        biases: per sample, float32 [k] for the same rows as keys, or None.
        trace: the record of it.
    """

    dropped: list[Tensor]
    features: list[Tensor | None]
    biases: list[Tensor | None]
    trace: TraceStage

    @property
    def merges(self) -> bool:
        """Some kept rows get new contents."""
        return any(features is not None for features in self.features)

    @property
    def has_biases(self) -> bool:
        """Some kept rows count more, or less, as keys."""
        return any(bias is not None for bias in self.biases)

    @property
    def changes_nothing(self) -> bool:
        """Every token of every sample stays, untouched."""
        drops = any(len(rows) for rows in self.dropped)
        return not (drops or self.merges or self.has_biases)
