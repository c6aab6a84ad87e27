"""Processors less their video part, for installations without torchvision, which only it needs."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from transprune.errors import MissingExtra

# parts that need packages of their own, and that pictures do not need
LEFT_OUT = ("video_processor", "feature_extractor")
LOADED = ("image_processor", "tokenizer")


def load_with_or_without_videos(place: str, name: str) -> Any:
    """The processor in a folder or of a hub id; without torchvision one that reads pictures only.

    Args:
        place: a folder or a hub id.
        name: class of the processor in transformers.

    Raises:
        MissingExtra: reading the image part alone failed as well.
    """
    from transformers import AutoProcessor
    from transformers.utils import is_torchvision_available

    try:
        return AutoProcessor.from_pretrained(place)
    # a ValueError or an endless search for the class of the videos, in some of them
    except (ImportError, ValueError, RecursionError) as needed:
        if is_torchvision_available():
            raise
        try:
            return _pictures_only(place, name)
        except Exception as error:
            raise MissingExtra(
                f"the processor of {place} needs a package that is not installed "
                f"({_first_line(needed)}); reading its image part alone failed as well: "
                f"{_first_line(error)}"
            ) from error


def _pictures_only(place: str, name: str) -> Any:
    """A processor with tokenizer and image processor only, and the options of its own file."""
    import transformers

    kind = _class_without_videos(name)
    parameters = inspect.signature(getattr(transformers, name).__init__).parameters
    saved, _ = kind.get_processor_dict(place)
    options = {}
    for option, value in saved.items():
        if option in parameters and option not in (*LEFT_OUT, *LOADED):
            options[option] = value

    return kind(
        image_processor=transformers.AutoImageProcessor.from_pretrained(place),
        tokenizer=transformers.AutoTokenizer.from_pretrained(place),
        **options,
    )


def _class_without_videos(name: str) -> Any:
    """A subclass of the processor that takes no part which is left out."""
    import transformers
    from transformers.processing_utils import ProcessorMixin

    parent: Any = getattr(transformers, name)
    takes = inspect.signature(parent.__init__).parameters
    left_out = dict.fromkeys(part for part in LEFT_OUT if part in takes)

    class PartsThatAreThere(ProcessorMixin):
        """Stands behind the parent, whose constructor passes on parts that are None here."""

        def __init__(self, *parts: Any, **options: Any) -> None:
            given = [part for part in parts if part is not None]
            named = {part: value for part, value in options.items() if part not in LEFT_OUT}
            ProcessorMixin.__init__(self, *given, **named)

    class PicturesOnly(parent, PartsThatAreThere):
        """The same prompts and pixels; transformers reads its parts from this signature."""

        # what a chat template asks for, whether there is a video or not
        video_processor = SimpleNamespace(num_frames=None, fps=None)

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, **options: Any
        ) -> None:
            parts = {"image_processor": image_processor, "tokenizer": tokenizer}
            super().__init__(**parts, **left_out, **options)

    return PicturesOnly


def _first_line(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
