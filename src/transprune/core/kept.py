"""Which visual tokens stayed at a boundary, as the trace tells it: as data, and as lines for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from transprune.core.frames import count_per_frame

# visual tokens of each frame of each picture or video of one sample
Clips = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TraceStage:
    """One boundary.

    Attributes:
        boundary: 0-based decoder layer in front of which tokens were dropped.
        method: name of the method that chose.
        candidates: per sample, the original numbers (0..N-1) of the visual tokens that arrived.
            long [n].
        keep: per sample, those that stayed, in the order of their rows: ascending, unless a method
            that renumbers positions has an order of its own. long [k].
        scores: with `record=("scores",)`: name -> per sample, float32 [n], in the order of
            `candidates`.
    """

    boundary: int
    method: str
    candidates: tuple[Tensor, ...]
    keep: tuple[Tensor, ...]
    scores: Mapping[str, tuple[Tensor, ...]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        data: dict[str, Any] = {
            "boundary": self.boundary,
            "method": self.method,
            "candidates": as_lists(self.candidates),
            "keep": as_lists(self.keep),
        }

        if self.scores:
            data["scores"] = {name: as_lists(values) for name, values in self.scores.items()}
        return data


def stage_lines(stages: Sequence[TraceStage]) -> list[str]:
    """One line per boundary, columns aligned to the right."""
    rows = [("from layer", "method", "visual tokens", "kept")]
    for stage in stages:
        arrived = _counts(stage.candidates)
        rows.append((str(stage.boundary), stage.method, arrived, _counts(stage.keep)))

    widths = [0] * len(rows[0])
    for row in rows:
        widths = [max(width, len(cell)) for width, cell in zip(widths, row, strict=True)]

    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells))

    return lines


def kept_per_frame(
    stages: Sequence[TraceStage], clips: Clips, sample: int = 0
) -> tuple[Clips, ...]:
    """Tokens of one sample that stayed of each frame: per stage, per picture or video, per frame.

    `clips` are the visual tokens of each frame before pruning; without any the answer is empty.
    """
    if not clips:
        return ()

    counts = []
    for stage in stages:
        kept = stage.keep[sample].tolist()
        counts.append(count_per_frame(kept, clips))

    return tuple(counts)


def frame_lines(stages: Sequence[TraceStage], clips: Clips) -> list[str]:
    """For the first sample, if it has a video: tokens of each frame at first, and at each stage."""
    per_stage = kept_per_frame(stages, clips)
    lines = []

    for number, clip in enumerate(clips):
        # a still picture is one frame, about which the table of stages says all
        if len(clip) < 2:
            continue

        name = "frames" if len(clips) == 1 else f"frames of picture {number + 1}"
        lines.append(f"{name}: {_joined(clip)} visual tokens")
        for stage, kept in zip(stages, per_stage, strict=True):
            lines.append(f"  kept from layer {stage.boundary}: {_joined(kept[number])}")

    return lines


def _joined(counts: Sequence[int]) -> str:
    """`8 x 16` of equal numbers, else all of them."""
    if len(set(counts)) == 1:
        return f"{len(counts)} x {counts[0]}"
    return ", ".join(map(str, counts))


def _counts(tokens: Sequence[Tensor]) -> str:
    """Tokens of each sample."""
    return ", ".join(str(len(of_sample)) for of_sample in tokens)


def as_lists(tensors: Sequence[Tensor]) -> list[list[Any]]:
    """Numbers per sample; None for those that are not finite, such as scores of newline tokens."""
    return [finite(tensor) for tensor in tensors]


def finite(values: Tensor) -> list[float | None]:
    """NaN and infinity as None: JSON has no word for them."""
    return [value if math.isfinite(value) else None for value in values.tolist()]
