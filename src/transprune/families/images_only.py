"""Processors without their video part, which is all of them that needs torchvision."""

from __future__ import annotations

import inspect
from typing import Any

from transprune.errors import MissingExtra

PARTS = {"self", "kwargs", "image_processor", "tokenizer", "video_processor", "chat_template"}


def load_with_or_without_videos(place: str, name: str) -> Any:
    """The processor in a folder or of a hub id; of pictures only where torchvision is missing.

    `name` is its class in transformers.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(place)
    except ImportError:
        return load_images_only(place, name)


def load_images_only(place: str, name: str) -> Any:
    """The processor in a folder or of a hub id, with the same prompts and pixels, but no videos.

    Args:
        place: a folder or a hub id.
        name: class of the processor in transformers.

    Raises:
        MissingExtra: reading the image part alone failed as well.
    """
    try:
        kind = _images_only(name)
        processor = kind.from_pretrained(place)
        # transformers passes on what the constructor names, which are the parts only
        settings, _ = kind.get_processor_dict(place)
        for setting in kind.settings & settings.keys():
            setattr(processor, setting, settings[setting])
        return processor
    except Exception as error:
        raise MissingExtra(
            f"the processor of {place} needs torchvision (pip install torchvision); reading its "
            f"image part alone failed as well: {error}"
        ) from error


def _images_only(name: str) -> Any:
    """A subclass of the processor that takes no video processor."""
    import transformers
    from transformers.processing_utils import ProcessorMixin

    parent: Any = getattr(transformers, name)

    class WithoutVideos(ProcessorMixin):
        """Stands behind the parent, whose constructor passes on a video processor."""

        def __init__(self, *parts: Any, **options: Any) -> None:
            # the one that is missing stands at different places
            there = [part for part in parts if part is not None]
            ProcessorMixin.__init__(self, *there, **options)

    class ImagesOnly(parent, WithoutVideos):
        """Transformers reads from this signature which parts there are to load."""

        settings = inspect.signature(parent.__init__).parameters.keys() - PARTS

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            parts = {"image_processor": image_processor, "tokenizer": tokenizer}
            super().__init__(**parts, video_processor=None, chat_template=chat_template)

    return ImagesOnly
