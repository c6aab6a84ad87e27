"""Processors without their video part, which is all of them that needs torchvision."""

from __future__ import annotations

from typing import Any

from transprune.errors import MissingExtra


def load_images_only(place: str, name: str) -> Any:
    """The processor in a folder or of a hub id, with the same prompts and pixels, but no videos.

    Args:
        place: a folder or a hub id.
        name: class of the processor in transformers.

    Raises:
        MissingExtra: reading the image part alone failed as well.
    """
    try:
        return _images_only(name).from_pretrained(place)
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

        def __init__(self, image_processor: Any, tokenizer: Any, _: Any, **options: Any) -> None:
            ProcessorMixin.__init__(self, image_processor, tokenizer, **options)

    class ImagesOnly(parent, WithoutVideos):
        """Transformers reads from this signature which parts there are to load."""

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    return ImagesOnly
