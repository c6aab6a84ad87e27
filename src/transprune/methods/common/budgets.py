"""Schedules named by a budget, as SparseVLM and AdaptInfer name them.

A budget is the average number of visual tokens per layer, out of 576.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from transprune.core.schedule import Schedule
from transprune.errors import ScheduleError

# LLaVA-1.5-7B, for which the budgets were published
TOTAL = 576  # visual tokens
DEPTH = 32  # decoder layers

Published = Mapping[int, tuple[int, ...]]


def budget_schedule(budget: int, published: Published, boundaries: tuple[int, ...]) -> Schedule:
    """The published schedule of a budget, or the straight line between its two neighbours.

    Below the smallest published budget the line runs to 0 tokens, above the largest to all 576.

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

    nothing = (0,) * len(boundaries)
    everything = (TOTAL,) * len(boundaries)
    known = {0: nothing, **published, TOTAL: everything}
    budgets = sorted(known)

    ratios = {}
    for stage, boundary in enumerate(boundaries):
        column = [known[known_budget][stage] for known_budget in budgets]
        count = round(np.interp(budget, budgets, column))

        # a published 0 stays a share below one token: the plan then keeps one and says so
        ratios[boundary] = max(count, 0.5) / TOTAL

    return Schedule(ratios, depth=DEPTH)
