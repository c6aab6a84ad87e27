"""Open a video: a file, or a folder of pictures that are its frames."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from transprune.errors import ImageError
from transprune.models.images import open_image
from transprune.video.clip import Clip, sample_uniform
from transprune.video.decode import decode

FOLDER_FPS = 1.0  # of a folder of pictures, which does not say


def open_clip(
    path: str | os.PathLike[str],
    frames: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Clip:
    """`frames` frames of a video at even distances; all of them where it has fewer.

    Args:
        path: a video file, or a folder of pictures, which are taken in the order of their names as
            one frame per second.
        frames: frames to take, at least 1. Default 8, as Video-LLaVA takes.
        progress: called with the frames read so far, and of how many.

    Raises:
        MissingExtra: a file, and PyAV is not installed.
        ImageError: a video without frames, that is missing, damaged, no video, or a folder whose
            pictures differ in size.
    """
    place = Path(path)
    if place.is_dir():
        return _open_folder(place, frames, progress)
    return decode(place, frames, progress)


def _open_folder(folder: Path, frames: int, progress: Callable[[int, int], None]) -> Clip:
    """Some of the pictures of a folder; other files in it are left alone."""
    kinds = Image.registered_extensions()
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in kinds]
    if not files:
        raise ImageError(f"{folder} has no picture in it; a folder of frames holds one file each")

    # chosen before anything is opened: a folder may hold thousands of frames
    indices = sample_uniform(len(files), frames)
    pictures = []
    for done, index in enumerate(indices, start=1):
        pictures.append(open_image(files[index]))
        progress(done, len(indices))

    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        found = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise ImageError(f"the frames of a video have one size; those in {folder} have {found}")
    return Clip(str(folder), tuple(pictures), indices, len(files), FOLDER_FPS)
