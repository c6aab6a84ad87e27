"""How many tokens a model was made for. Beyond them it answers all the same, and makes no sense."""

from __future__ import annotations

from typing import Any


def context_of(model: Any) -> int | None:
    """Positions that a model was made for, prompt and answer together; None if it does not say."""
    config = model.config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    return most if isinstance(most, int) else None
