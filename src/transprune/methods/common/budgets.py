"""Schedules named by a budget, as SparseVLM and AdaptInfer do: so many visual tokens per layer on average, of 576."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from transprune.core.schedule import Schedule
from transprune.errors import ScheduleError

TOTAL, DEPTH = (
    576,
    32,
)  # visual tokens and layers of LLaVA-1.5-7B, for which the budgets were published

Published = Mapping[int, tuple[int, ...]]


def budget_schedule(budget: int, published: Published, boundaries: tuple[int, ...]) -> Schedule:
    """The published schedule of a budget; between two published ones the straight line, on to 0 and to all tokens.

    Args:
        budget: 1..576.
        published: budget -> tokens that stay at each boundary.
        boundaries: of 32 layers; they scale with depth.

    Raises:
        ScheduleError: a budget outside 1..576.
    """
    if isinstance(budget, bool) or not 1 <= budget <= TOTAL:
        raise ScheduleError(
            f"a budget is the average number of visual tokens per layer, 1..{TOTAL}; got {budget!r}"
        )
    known = {0: (0,) * len(boundaries), **published, TOTAL: (TOTAL,) * len(boundaries)}
    budgets = sorted(known)
    counts = [
        round(np.interp(budget, budgets, column))
        for column in zip(*(known[b] for b in budgets), strict=True)
    ]
    # a published 0 stays a share below one token: the plan then says that one was kept all the same
    ratios = [max(count, 0.5) / TOTAL for count in counts]
    return Schedule(dict(zip(boundaries, ratios, strict=True)), depth=DEPTH)
