"""Read frames of a video file with PyAV.

The file is read twice: its packets are counted, which decodes nothing, and then the wanted frames
are decoded one after the other. Seeking would be faster on long videos, but lands on key frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from transprune.errors import ImageError, MissingExtra
from transprune.video.clip import Clip, sample_uniform

DEFAULT_FPS = 24.0  # of a file that does not say, as transformers assumes
Progress = Callable[[int, int], None]  # frames decoded so far, and of how many


def decode(file: Path, count: int, progress: Progress = lambda done, total: None) -> Clip:
    """`count` frames of a video file at even distances; all where it has fewer.

    Args:
        file: anything that FFmpeg reads.
        count: frames to take.
        progress: called after every decoded frame.

    Raises:
        MissingExtra: PyAV is not installed.
        ImageError: the file is missing, is no video, is damaged, or has no frame.
    """
    av = _import_av()
    if not file.is_file():
        raise ImageError(
            f"no video file {file}; relative paths are read from the current directory"
        )

    try:
        total, fps = _measure(av, file)
        wanted = sample_uniform(total, count)
        frames, seen = _read(av, file, wanted, progress)
        if len(frames) < len(wanted):  # some packets held no whole frame
            total = seen
            frames, _ = _read(av, file, sample_uniform(total, count), progress)
    except av.FFmpegError as error:
        raise ImageError(
            f"{file} is no video that FFmpeg can read, or is damaged ({error.strerror}); export it "
            "again, for example as MP4"
        ) from error

    if not frames:
        raise ImageError(f"{file} has no video frame; give a file with a picture track")

    indices = tuple(sorted(frames))
    return Clip(str(file), tuple(frames[index] for index in indices), indices, total, fps)


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise MissingExtra(
            "videos are decoded with PyAV: pip install 'transprune[video]'. A folder of pictures, "
            "one per frame, needs no decoder."
        ) from error

    module: ModuleType = av
    return module


def _measure(av: Any, file: Path) -> tuple[int, float]:
    """Number of frames, and frames per second."""
    with av.open(str(file)) as container:
        if not container.streams.video:
            return 0, DEFAULT_FPS
        stream = container.streams.video[0]
        # the packet that flushes the decoder is empty
        total = sum(1 for packet in container.demux(stream) if packet.size)
        return total, float(stream.average_rate or DEFAULT_FPS)


def _read(
    av: Any, file: Path, wanted: Sequence[int], progress: Progress
) -> tuple[dict[int, Image.Image], int]:
    """The wanted frames by their numbers, and how many frames were seen on the way."""
    found: dict[int, Image.Image] = {}
    seen = 0
    if not wanted:
        return found, seen

    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        # by default only the slices of a frame are decoded in parallel
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if seen in wanted:
                found[seen] = _upright(frame)
            seen += 1
            progress(seen, wanted[-1] + 1)
            # what comes behind the last wanted frame is not decoded
            if seen > wanted[-1]:
                break

    return found, seen


def _upright(frame: Any) -> Image.Image:
    """The frame in RGB, turned as its display matrix says (phones film sideways)."""
    picture: Image.Image = frame.to_image()
    degrees = int(getattr(frame, "rotation", 0))
    return picture.rotate(degrees, expand=True) if degrees else picture
