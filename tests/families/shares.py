"""How many tokens of each frame were kept, counted without what the trace says about frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from transprune.trace import Trace


def kept_of(trace: Trace, sizes: Sequence[int], stage: int = -1, sample: int = 0) -> list[int]:
    """Kept tokens of each frame of a sample, whose frames have these sizes in prompt order."""
    kept = trace.stages[stage].keep[sample].tolist()
    ends = list(accumulate(sizes))
    starts = [end - size for end, size in zip(ends, sizes, strict=True)]
    return [
        sum(start <= token < end for token in kept) for start, end in zip(starts, ends, strict=True)
    ]
