"""What a pass notes while it runs. It stays on the device; the trace copies it, once, when read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from transprune.core.layout import Layout

# of a group of pools: samples [G], images [G], scores [G, Hkv, N]
RecordedScores = tuple[tuple[int, ...], tuple[int, ...], Tensor]


@dataclass(frozen=True)
class RecordedStage:
    """One boundary that was reached.

    Attributes:
        boundary: 0-based decoder layer behind it.
        method: name of the method that chose.
        before: the rows that arrived.
        after: those that stayed.
        scores: (samples [G], images [G], scores by name [G, N]) of each group of pools; nothing if
            scores are not recorded.
    """

    boundary: int
    method: str
    before: Layout
    after: Layout
    scores: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Tensor]], ...] = ()


@dataclass(frozen=True)
class RecordedChange:
    """Numbers per token that one module of one layer left.

    Attributes:
        layer: 1-based decoder layer.
        module: `"attention"` or `"mlp"`.
        layout: the rows that ran there.
        values: float32 [..., B, L].
    """

    layer: int
    module: str
    layout: Layout
    values: Tensor


@dataclass(frozen=True)
class RecordedEviction:
    """The visual keys that stayed in the cache of one layer.

    Attributes:
        layer: 0-based decoder layer.
        method: name of the method that chose.
        layout: the rows that ran there.
        rows: long [B, Hkv, P], numbers of the rows that every head keeps; the last `kept` of each
            sample are real.
        kept: their number, per sample.
        visual: how many of them are visual.
        scores: of each group of pools; nothing if scores are not recorded.
    """

    layer: int
    method: str
    layout: Layout
    rows: Tensor
    kept: tuple[int, ...]
    visual: tuple[int, ...]
    scores: tuple[RecordedScores, ...] = ()

    @property
    def width(self) -> int:
        """Entries per sample that stay, fillers included."""
        return max(self.kept)


@dataclass
class Record:
    """The trace in the making.

    Attributes:
        stages: one entry per boundary that was reached.
        widths: boundary -> rows per sample from there on.
        transitions: token transition variation of the observed modules, if it is recorded.
        changes: magnitude and cosine [2, B, L] of every module, if they are recorded.
        evictions: one entry per layer whose keys were ranked.
        notes: sentences a reader should know.
        keeps: flags that say whether a third party's selection is not valid, and the error for it.
        scores_to_check: (method, where, scores) that must be finite.
    """

    stages: list[RecordedStage] = field(default_factory=list)
    widths: dict[int, int] = field(default_factory=dict)
    transitions: list[RecordedChange] = field(default_factory=list)
    changes: list[RecordedChange] = field(default_factory=list)
    evictions: list[RecordedEviction] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    keeps: list[tuple[Tensor, Callable[[], Any]]] = field(default_factory=list)
    scores_to_check: list[tuple[str, str, Tensor]] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Add a sentence to the trace, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def note_scores(self, method: str, where: str, score: Tensor) -> None:
        """Note the scores [G, ..., N] that ranked, to be checked when that costs no wait."""
        self.scores_to_check.append((method, where, score.detach()))
