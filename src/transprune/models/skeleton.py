"""The modules of a model without memory for their weights: shapes can be computed, values not."""

from __future__ import annotations

import copy
import os
from typing import Any

from transprune.errors import CheckpointError, MissingExtra
from transprune.models.source import first_line


def build_skeleton(config: Any, source: str | os.PathLike[str] = "") -> Any:
    """The model that a configuration describes, on torch's meta device.

    Args:
        config: a transformers configuration; it is not changed.
        source: named in the error.

    Raises:
        CheckpointError: sizes that make no model.
        MissingExtra: its class needs a package that is not installed.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(copy.deepcopy(config))
    except ImportError as error:
        raise MissingExtra(
            f"the model class of {source} needs a package that is not installed: "
            f"{first_line(error)}"
        ) from error
    # sizes that do not fit each other fail wherever a module first divides or indexes by them
    except Exception as error:
        raise CheckpointError(
            f"the configuration of {source} makes no model: {first_line(error)}. Correct its "
            "config.json, or fetch it again"
        ) from error
