"""Read the header of a picture file, and refuse what is too large before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

MPO = "MPO"  # a JPEG with a second view, as phones write them


@dataclass(frozen=True)
class Header:
    """What a file says of its picture.

    Attributes:
        form: its format as Pillow names it.
        width, height: pixels.
        frames: 1 for a still picture.
    """

    form: str
    width: int
    height: int
    frames: int = 1


def read_header(data: bytes, formats: tuple[str, ...], pixels: int, aspect: float) -> Header:
    """The header of a file.

    Args:
        data: the file.
        formats: those that are opened, as Pillow names them. Some of its readers start programs of
            the system, so a file from elsewhere is never opened without a list.
        pixels: width x height of the largest picture.
        aspect: the longer side over the shorter one. Processors bring the shorter side to a fixed
            size first, so a line of pixels would become gigabytes.

    Raises:
        ValueError: another format, a damaged header, or a picture that is too large.
    """
    try:
        with Image.open(BytesIO(data), formats=formats) as image:
            width, height = image.size
            form = str(image.format)
            # counting reads the headers of frames, so a size that is refused comes first
            check_size(width, height, pixels, aspect)
            frames = 1 if form == MPO else int(getattr(image, "n_frames", 1))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"more than {pixels:,} pixels; scale it down") from None
    except ValueError:
        raise
    # readers raise nearly anything on a damaged header
    except Exception:
        raise ValueError(f"it is no readable {', '.join(formats)} file") from None

    return Header(form, width, height, frames)


def check_size(width: int, height: int, pixels: int, aspect: float) -> None:
    """Raise ValueError for a picture that is too large, or far longer than wide."""
    if width * height > pixels:
        raise ValueError(f"{width} x {height} are more than {pixels:,} pixels; scale it down")
    if max(width, height) > aspect * min(width, height):
        raise ValueError(
            f"{width} x {height} is longer than {aspect:g} times its other side; cut it"
        )
