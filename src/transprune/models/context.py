"""How many tokens a model was made for. Beyond them it answers all the same, and makes no sense."""

from __future__ import annotations

import warnings
from typing import Any

from transprune.errors import PruneWarning


def context_of(model: Any) -> int | None:
    """Positions that a model was made for, prompt and answer together; None if it does not say."""
    config = model.config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    return most if isinstance(most, int) else None


def warn_beyond(model: Any, length: int) -> None:
    """Warn of a prompt of `length` tokens that leaves a model no room for an answer.

    It is not refused here: an answer is what was asked for, and some models bear a few tokens more.
    """
    most = context_of(model)
    if most is not None and length >= most:
        warnings.warn(
            f"the prompt has {length:,} tokens, and the model was made for {most:,} with the "
            "answer, which may make no sense; ask a shorter question, or show fewer pictures",
            PruneWarning,
            stacklevel=3,
        )
