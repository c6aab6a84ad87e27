"""Load a processor, and refuse one that lacks its tokenizer or its image processor."""

from __future__ import annotations

import os
from typing import Any

from transprune.errors import CheckpointError, MissingExtra, PruneError
from transprune.models.source import first_line, locate


def load_processor(source: str | os.PathLike[str], model_type: str = "") -> Any:
    """Load the processor of a checkpoint.

    Without torchvision, Qwen2.5-VL gets a processor that reads images but no videos.

    Raises:
        CheckpointError: missing or unreadable files.
        MissingExtra: the processor needs a package that is not installed, such as torchvision.
    """
    from transformers import AutoProcessor

    place = locate(source)
    try:
        processor = AutoProcessor.from_pretrained(place)
        _check_parts(processor, source)
        return processor
    except ImportError as error:
        if model_type == "qwen2_5_vl":
            return _images_only(place)
        raise MissingExtra(
            f"the processor of {source} needs a package that is not installed: {first_line(error)}"
        ) from error
    except PruneError:
        raise
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


def _images_only(place: str) -> Any:
    """Qwen2.5-VL's processor without its video part, the only part that needs torchvision."""
    from transformers import Qwen2_5_VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class ImagesOnly(Qwen2_5_VLProcessor):
        """The same prompt expansion and image processing, without videos."""

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            self.image_token = "<|image_pad|>"
            self.video_token = "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            # skips the parent's __init__, which requires a video processor
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    try:
        return ImagesOnly.from_pretrained(place)
    except Exception as error:
        raise MissingExtra(
            f"the processor of {place} needs torchvision (pip install torchvision); its image part "
            f"alone cannot be loaded either: {first_line(error)}"
        ) from error
