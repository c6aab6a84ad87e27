"""What a request took: tokens, and what pruning did to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reused = Literal["nothing", "tower", "prefill"]


@dataclass(frozen=True)
class Usage:
    """The bill of one answer.

    Attributes:
        prompt_tokens: before pruning, visual ones included.
        new_tokens: of the answer, its end included.
        method: name of the method on this server.
        budget: what it was scaled to; None as it is offered.
        visual_before: visual tokens of the prompt.
        visual_after: those that the last layer still had.
        flops_share: work of the prefill relative to the unpruned one, everything counted (`exact`).
        first_token_seconds: from the arrival of the request to its first token, waiting included.
        queued_seconds: the part of it that the request waited.
        total_seconds: from the arrival of the request to its last token.
        batch: requests that ran together.
        reused: what an earlier request had computed: the features of the pictures, or the whole
            prefill up to the question. `flops_share` does not count what that saves.
    """

    prompt_tokens: int
    new_tokens: int
    method: str
    visual_before: int
    visual_after: int
    flops_share: float
    first_token_seconds: float
    queued_seconds: float
    total_seconds: float
    batch: int
    reused: Reused = "nothing"
    budget: float | None = None
