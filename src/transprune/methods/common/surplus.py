"""Say so when the settings of a method drop nothing of a prompt.

Published counts belong to LLaVA-1.5's 576 visual tokens. A model that makes fewer of a picture is
then not pruned, and nothing else would show it.
"""

from __future__ import annotations

from typing import Any

from transprune.methods.common.checks import is_count
from transprune.methods.common.method import Method

PUBLISHED_TOKENS = 576  # of LLaVA-1.5, to which counts such as 192 refer
PLAIN_SHARE = 1 / 3


def surplus_note(method: Method, num_layers: int, visual_tokens: int) -> str | None:
    """A sentence if `method` drops none of `visual_tokens`, with a setting that does; else None.

    Raises:
        ScheduleError: the boundaries do not fit the depth.
    """
    plan = method.plan(num_layers, visual_tokens)
    # a number that depends on the data is only bounded here
    drops = any(stage.at_most or stage.count < visual_tokens for stage in plan)
    if drops or not plan or visual_tokens == 0:
        return None

    for name in method.budget_fields:
        value: Any = getattr(method, name, None)
        if is_count(value) and value >= visual_tokens:
            share = value / PUBLISHED_TOKENS if value < PUBLISHED_TOKENS else PLAIN_SHARE
            count = max(1, int(share * visual_tokens))
            return (
                f"{method.name}: {name}={value} is at least the {visual_tokens} visual tokens, so "
                f"nothing is dropped; try {name}={count} or {name}={share:.2g}"
            )

    return (
        f"{method.name}: its settings keep all {visual_tokens} visual tokens, so nothing is dropped"
    )


def surplus_notes(method: Method, num_layers: int, visual_tokens: int) -> tuple[str, ...]:
    """The sentences of all steps of a method, each about the tokens that the one before it left.

    Raises:
        ScheduleError: the boundaries do not fit the depth.
    """
    notes = []
    remaining = visual_tokens
    for step in method.steps:
        if note := surplus_note(step, num_layers, remaining):
            notes.append(note)
        stages = step.plan(num_layers, remaining)
        remaining = stages[-1].count if stages else remaining

    return tuple(notes)
