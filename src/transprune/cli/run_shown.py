"""What `transprune run` shows the model: pictures and videos, and their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from PIL.Image import Image

    from transprune.models.checkpoint import Checkpoint
    from transprune.tiles import TileSearch
    from transprune.video.clip import Clip

Images = Annotated[
    list[Path] | None,
    typer.Option("--image", metavar="FILE", help="Image file; repeat for several."),
]
Videos = Annotated[
    list[Path] | None,
    typer.Option(
        "--video",
        metavar="FILE",
        help="Video file, or a folder of pictures that are its frames; repeat for several.",
    ),
]
Frames = Annotated[
    int,
    typer.Option(
        "--frames", min=1, metavar="N", help="Frames to take of a video, at even distances."
    ),
]


class Pools(str, Enum):
    """The choices of `--pool`."""

    sample = "sample"
    image = "image"
    frame = "frame"


Pool = Annotated[
    Pools,
    typer.Option(
        "--pool",
        help="What is ranked together: all visual tokens, each picture or whole video, each frame.",
    ),
]


@dataclass(frozen=True)
class Shown:
    """Pictures and videos in the order of the prompt.

    Attributes:
        images: files of the pictures.
        pictures: the same, opened.
        clips: the videos.
        tiles: how the pictures were found in the only file; None where they are the files.
    """

    images: Sequence[Path]
    pictures: Sequence[Image]
    clips: Sequence[Clip]
    tiles: TileSearch | None = None

    def for_question(
        self, checkpoint: Checkpoint, question: str, progress: Callable[[str], None]
    ) -> Shown:
        """The same, whatever is asked; of a large picture only some tiles are shown."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping: the files, which frames were taken, and which tiles."""
        videos = []
        for clip in self.clips:
            videos.append(
                {
                    "file": clip.source,
                    "frames": list(clip.indices),
                    "of": clip.total,
                    "fps": clip.fps,
                }
            )

        return {
            "images": [str(file) for file in self.images],
            "videos": videos,
            "tiles": None if self.tiles is None else self.tiles.to_dict(),
        }


def open_all(
    images: Sequence[Path], videos: Sequence[Path], frames: int, progress: Callable[[str], None]
) -> Shown:
    """Open every picture and video, saying which frame is being decoded.

    Raises:
        ImageError: one of them cannot be read.
        MissingExtra: a video file, and PyAV is not installed.
    """
    from transprune.models.clips import open_clip
    from transprune.models.images import open_image

    pictures = [open_image(file) for file in images]
    clips = []
    for file in videos:

        def tell(done: int, total: int, name: str = file.name) -> None:
            progress(f"decoding {name}: frame {done} of {total}")

        clips.append(open_clip(file, frames, tell))

    return Shown(images, pictures, clips)
