"""What one batch runs on, and the bill of each of its rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transprune.serve.job import Growing
from transprune.serve.usage import Reused, Usage
from transprune.trace import Trace


@dataclass(frozen=True)
class Batch:
    """What a batch runs on.

    Attributes:
        inputs: of `generate`.
        reused: what of each row an earlier request had computed.
        trace: gives what was kept, once the prefill has run.
    """

    inputs: dict[str, Any]
    reused: Sequence[Reused]
    trace: Callable[[], Trace | None]

    def usage(self, answer: Growing, number: int, start: float) -> Usage:
        """The bill of one row of a batch that began at `start`."""
        job = answer.job
        trace = self.trace()
        # without a picture, or unpruned, everything stayed
        after, share = job.visual, 1.0
        if trace is not None:
            after = trace.tokens_per_layer(number)[-1]
            share = trace.sample_cost(number, "exact").prefill_share

        return Usage(
            prompt_tokens=job.length,
            new_tokens=answer.tokens,
            method=job.recipe.name,
            visual_before=job.visual,
            visual_after=after,
            flops_share=share,
            first_token_seconds=answer.first_token - job.arrived,
            queued_seconds=start - job.arrived,
            total_seconds=time.monotonic() - job.arrived,
            batch=len(self.reused),
            reused=self.reused[number],
            budget=job.recipe.budget,
        )
