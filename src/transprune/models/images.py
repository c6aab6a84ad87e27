"""Open image files: whatever a person hands over becomes an 8-bit RGB picture the right way up, or a clear error.

Pillow reads the bytes; the decisions are ours. Transparency is composed on white, 16-bit grey is scaled (not clipped),
the EXIF rotation is applied, and of an animation the first frame is taken, with a warning.
"""

from __future__ import annotations

import os
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from transprune.errors import ImageError, PruneWarning

# What Pillow's readers raise on damaged files, besides OSError: each format has its own habits.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ONE_PICTURE = (
    "MPO",
)  # a phone's JPEG with a second view attached: several frames, but no animation


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, as 8-bit RGB.

    Raises:
        ImageError: no such file, a directory, empty, not an image, truncated, or far too large.
    """
    file = Path(path)
    _check_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # readers grumble about metadata; a decompression bomb is no grumble
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                frames = _frames(image)
                image.load()
                picture = _upright(to_rgb(image), image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{file} is larger than {Image.MAX_IMAGE_PIXELS:,} pixels, which no vision-language model reads; "
            "scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{file} is not an image that Pillow can read; expected PNG, JPEG, WebP or the like"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{file} cannot be read: {error.strerror}") from error
    except _DAMAGE as error:
        raise ImageError(
            f"{file} is damaged or cut short ({error}); fetch or export it again"
        ) from error
    if frames > 1:
        warnings.warn(f"{file} has {frames} frames; the first is used", PruneWarning, stacklevel=2)
    return picture


def to_rgb(image: Image.Image) -> Image.Image:
    """Any loaded Pillow image as 8-bit RGB, transparency composed on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _check_file(file: Path) -> None:
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise ImageError(
            f"no file {file}; relative paths are read from the current directory"
        ) from error
    except (OSError, ValueError) as error:  # no permission, a name too long, a null byte
        raise ImageError(f"{str(file)!r} cannot be read: {error}") from error
    if file.is_dir():
        raise ImageError(f"{file} is a directory; give the image files in it one by one")
    if status.st_size == 0:
        raise ImageError(f"{file} is empty (0 bytes); fetch or export it again")


def _frames(image: Image.Image) -> int:
    return 1 if image.format in _ONE_PICTURE else int(getattr(image, "n_frames", 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled from the range its values are written in."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)
    top = 65535.0 if image.mode.startswith("I;16") else _white(grey, image.mode)
    return Image.fromarray((grey * (255 / top)).round().clip(0, 255).astype(np.uint8))


def _white(grey: np.ndarray, mode: str) -> float:
    """The value that means white. Modes I and F do not say; the smallest usual range that holds the values is taken."""
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    highest = float(grey.max(initial=0))
    return next((top for top in usual if highest <= top), highest)


def _upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """Turned as the EXIF orientation of `source` says; TIFF files were turned by loading them."""
    try:
        orientation = source.getexif().get(_ORIENTATION)
    except _DAMAGE:
        return picture  # metadata that cannot be read turns nothing
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture
