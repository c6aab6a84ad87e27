"""A conversation as a prompt with its pictures and videos."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from transprune.errors import ImageError, LayoutError
from transprune.models.checkpoint import Checkpoint
from transprune.models.clips import open_clip
from transprune.models.images import open_image, to_rgb
from transprune.models.prompt import conversation_prompt, prepare_prompt, takes_videos
from transprune.video.clip import Clip

FRAMES = 8  # of a video, as Video-LLaVA takes

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Conversation:
    """What a model is shown.

    Attributes:
        prompt: the whole text, with a placeholder for every picture and video.
        pictures: in the order of their placeholders.
        clips: videos, likewise.
    """

    prompt: str
    pictures: tuple[Image.Image, ...]
    clips: tuple[Clip, ...]

    @property
    def media(self) -> tuple[bool, bool]:
        """Whether it has pictures, and whether it has videos."""
        return bool(self.pictures), bool(self.clips)

    def prepare(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The model's inputs, as `transprune.models.prompt.prepare` makes them."""
        return dict(prepare_prompt(checkpoint, self.prompt, "", self.pictures, self.clips))


def read_messages(
    checkpoint: Checkpoint, messages: Sequence[Message], frames: int, stills: bool = False
) -> Conversation:
    """A list of messages, each with `role` and `content`, as a conversation.

    Args:
        checkpoint: the model, whose chat template writes the prompt.
        messages: their content is a list of `{"type": "text" | "image" | "video", ...}`; a picture
            or video stands under its type or under `url`.
        frames: of each video.
        stills: whether a model that takes no videos is shown their frames as pictures.

    Raises:
        LayoutError: another type of content, or several messages where the processor has no
            template.
        ImageError: a picture or video that cannot be read.
        CheckpointError: the template cannot be used.
    """
    bare: list[dict[str, Any]] = []
    pictures: list[Image.Image] = []
    clips: list[Clip] = []
    for message in messages:
        content = []
        for part in message["content"]:
            kind = part["type"]
            if kind == "text":
                content.append({"type": "text", "text": part["text"]})
                continue

            medium = part.get(kind, part.get("url"))
            if kind == "image":
                pictures.append(open_picture(medium))
            elif kind == "video":
                clip = _open_video(medium, frames)
                # a model that takes pictures only is shown the frames as such
                if stills and not takes_videos(checkpoint):
                    pictures += clip.frames
                    content += [{"type": "image"}] * len(clip.frames)
                    continue
                clips.append(clip)
            else:
                raise LayoutError(f"a prompt has text, pictures and videos; got {kind!r}")

            content.append({"type": kind})

        bare.append({"role": message["role"], "content": content})

    prompt = conversation_prompt(checkpoint, bare, len(pictures), len(clips))
    return Conversation(prompt, tuple(pictures), tuple(clips))


def open_picture(medium: Any) -> Image.Image:
    """A picture that is loaded already, or the one in a file, in RGB.

    Raises:
        ImageError: neither, or it cannot be read.
    """
    if isinstance(medium, Image.Image):
        return to_rgb(medium)
    if isinstance(medium, (str, os.PathLike)):
        return open_image(medium)
    raise ImageError(f"a picture is a Pillow image or a path; got {type(medium).__name__}")


def is_video(medium: Any) -> bool:
    """Whether a medium without a type is a video: a path that is not a picture's."""
    if not isinstance(medium, (str, os.PathLike)):
        return False
    return os.path.splitext(os.fspath(medium))[1].lower() not in Image.registered_extensions()


def _open_video(medium: Any, frames: int) -> Clip:
    if not isinstance(medium, (str, os.PathLike)):
        raise ImageError(f"a video is the path of a file; got {type(medium).__name__}")
    return open_clip(medium, frames)
