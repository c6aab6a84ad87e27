"""Open an image file as an upright 8-bit RGB picture, or raise an error that names the problem.

Pillow reads the bytes; the conversions are chosen here. Transparency is composed on white, 16-bit
grey is scaled (not clipped), the EXIF rotation is applied, and of an animation the first frame is
taken, with a warning.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from transprune.core.shown import shorten, shown
from transprune.errors import ImageError, PruneWarning

ORIENTATION = 0x0112  # the EXIF tag; its value 1 means upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A phone's JPEG with a second view attached: it has several frames but is no animation.
_NOT_ANIMATED = ("MPO",)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, as 8-bit RGB.

    Raises:
        ImageError: the file is missing, a directory, empty, not an image, truncated, or far too
            large.
    """
    file = Path(path)
    check_file(file)
    return decode_image(file, str(file))


def decode_image(source: Path | BinaryIO, name: str) -> Image.Image:
    """The picture in a file or in a stream of bytes, as 8-bit RGB; `name` is for messages.

    Raises:
        ImageError: it is not an image, truncated, or far too large.
    """
    with reading(name):
        picture, frames = _read(source)

    if frames > 1:
        warnings.warn(f"{name} has {frames} frames; the first is used", PruneWarning, stacklevel=3)
    return picture


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Inside, whatever a reader raises becomes an ImageError that names the picture.

    Raises:
        ImageError: it is not an image, truncated, or far too large.
    """
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} is larger than {Image.MAX_IMAGE_PIXELS:,} pixels, more than a vision-language "
            "model reads; scale it down first, or have its parts looked at (--tiles)"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that Pillow can read; expected PNG, JPEG, WebP or the like"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is; scale it down first") from error
    # what a reader raises on a damaged file differs from format to format, and from release to
    # release: zlib.error, struct.error, SyntaxError, ZeroDivisionError and more
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{name} is damaged or cut short ({reason}); fetch or export it again"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any loaded Pillow image to 8-bit RGB, with transparency composed on white."""
    # Pillow's own conversion of these modes clips at 255
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def check_file(file: Path) -> None:
    """Raise ImageError for what is missing, a directory, no regular file, or empty."""
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise ImageError(
            f"no file {shorten(str(file))}; relative paths are read from the current directory"
        ) from error
    except (OSError, ValueError) as error:  # no permission, a name too long, a null byte
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(str(file))} cannot be read: {reason}") from error

    if file.is_dir():
        raise ImageError(f"{file} is a directory; give the image files in it one by one")
    # reading a pipe or a terminal would wait without end
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{file} is no regular file; save the picture to one first")
    if status.st_size == 0:
        raise ImageError(f"{file} is empty (0 bytes); fetch or export it again")


def _read(source: Path | BinaryIO) -> tuple[Image.Image, int]:
    """The first frame of a file, upright and in RGB, and the number of its frames."""
    with warnings.catch_warnings():
        # readers warn about odd metadata, which does no harm; too many pixels do
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)

        with Image.open(source) as image:
            frames = count_frames(image)
            image.load()
            return _upright(to_rgb(image), image), frames


def count_frames(image: Image.Image) -> int:
    """Frames of an opened file; 1 for a phone's JPEG with a second view."""
    if image.format in _NOT_ANIMATED:
        return 1
    return int(getattr(image, "n_frames", 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to 0..255."""
    # float pictures, such as depth maps, may hold NaN or infinity
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)

    # 16-bit files record their range, so white is known
    white = 65535.0 if image.mode.startswith("I;16") else _guess_white(grey, image.mode)
    scaled = (grey * (255 / white)).round().clip(0, 255)
    return Image.fromarray(scaled.astype(np.uint8))


def _guess_white(grey: np.ndarray, mode: str) -> float:
    """The value of white in a picture of mode I or F: the smallest usual one that fits all values.

    Files of these modes do not record it. Without a fitting one, the highest value is white.
    """
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    highest = float(grey.max(initial=0))
    for white in usual:
        if highest <= white:
            return white
    return highest


def _upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """Turn a picture by the EXIF orientation of its source. Pillow turns TIFF files on loading."""
    try:
        orientation = source.getexif().get(ORIENTATION)
    except Exception:
        return picture  # unreadable metadata is no reason to refuse a readable picture
    if orientation not in TURNS:
        return picture
    return picture.transpose(TURNS[orientation])
