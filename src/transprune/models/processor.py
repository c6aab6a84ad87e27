"""Load a processor, and refuse one that lacks its tokenizer or its image processor."""

from __future__ import annotations

import os
from typing import Any

from transprune.errors import CheckpointError, MissingExtra, PruneError
from transprune.families import FAMILIES, Family
from transprune.families.generic import Generic
from transprune.models.source import first_line, locate


def load_processor(source: str | os.PathLike[str], model_type: str) -> Any:
    """Load the processor of a checkpoint.

    A family may bring its own: without torchvision, Qwen2.5-VL reads images but no videos.

    Raises:
        CheckpointError: missing or unreadable files.
        MissingExtra: the processor needs a package that is not installed, such as torchvision.
    """
    place = locate(source)
    family: Family = FAMILIES.get(model_type)() if model_type in FAMILIES else Generic()
    try:
        processor = family.load_processor(place)
        _check_parts(processor, source)
        return processor
    except PruneError:
        raise
    except ImportError as error:
        raise MissingExtra(
            f"the processor of {source} needs a package that is not installed: {first_line(error)}"
        ) from error
    # missing files raise OSError, but unusual ones raise nearly anything
    except Exception as error:
        raise CheckpointError(
            f"the processor of {source} cannot be loaded: {first_line(error)}. The folder needs "
            "the tokenizer and the image processor's preprocessor_config.json or "
            "processor_config.json."
        ) from error


def _check_parts(processor: Any, source: str | os.PathLike[str]) -> None:
    """Refuse an incomplete processor: AutoProcessor falls back to a bare tokenizer silently."""
    parts = ("tokenizer", "image_processor")
    missing = [name for name in parts if getattr(processor, name, None) is None]
    if missing:
        raise CheckpointError(
            f"{source} has no {' and no '.join(missing)}; the folder needs processor_config.json "
            "or preprocessor_config.json beside the tokenizer"
        )
