"""The modules of a model without memory for their weights: shapes can be computed, values not."""

from __future__ import annotations

import copy
import os
from typing import Any

from transprune.errors import CheckpointError
from transprune.models.source import first_line


def build_skeleton(
    config: Any, source: str | os.PathLike[str] = "", *, layers: int | None = None
) -> Any:
    """The model that a configuration describes, on torch's meta device.

    Args:
        config: a transformers configuration; it is not changed.
        source: named in the error.
        layers: decoder layers to build; None for all. The vision tower is always whole.

    Raises:
        CheckpointError: sizes that make no model.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    config = copy.deepcopy(config)
    if layers is not None:
        _shorten(config.get_text_config(), layers)

    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config)
    # sizes that do not fit each other fail wherever a module first divides or indexes by them
    except Exception as error:
        raise CheckpointError(
            f"the configuration of {source} makes no model: {first_line(error)}. Correct its "
            "config.json, or fetch it again"
        ) from error


def _shorten(text: Any, layers: int) -> None:
    """Limit the decoder layers of a text configuration."""
    text.num_hidden_layers = min(layers, text.num_hidden_layers)

    # some decoders name the attention of every layer, and check that the list has that length
    if kinds := getattr(text, "layer_types", None):
        text.layer_types = kinds[: text.num_hidden_layers]
