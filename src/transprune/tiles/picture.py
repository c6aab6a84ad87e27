"""A large picture file of which parts are read, at the size of one level of the pyramid.

At most one decoded copy is held, in 8 bits as Pillow has it (4 bytes per pixel in colour). A JPEG is
decoded at an eighth, a quarter or a half of its size where that is enough for the level, so a coarse
look at it needs a fraction of that. Every tile is cropped, converted and resized on its own.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, floor
from pathlib import Path

from PIL import Image

from transprune.errors import ImageError, PruneWarning
from transprune.models.images import (
    ORIENTATION,
    TURNS,
    check_file,
    count_frames,
    reading,
    to_rgb,
)
from transprune.tiles.pyramid import Box, Level, Tile, fit

MOST_PIXELS = 1_000_000_000  # 4 GB when decoded; a header that promises more is not believed

# formats that Pillow can decode at a part of their size
_SCALED = ("JPEG", "MPO")

# Pillow's limit against decompression bombs is a setting of the whole process
_limit = threading.RLock()


class LargePicture:
    """A picture in a file, upright, read in parts.

    Args:
        path: the file. Pillow's limit on pixels does not count for it, `MOST_PIXELS` does.

    Attributes:
        file: the same as a path.
        size: width and height, upright, pixels.

    Raises:
        ImageError: the file cannot be read, has more than `MOST_PIXELS`, or 32-bit grey values,
            whose white no file records.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file = Path(path)
        self._held: Image.Image | None = None

        check_file(self.file)
        with reading(str(self.file)), _any_size(), self._open() as image:
            # other formats are decoded whole in any case, and some say only then how they are
            # turned (PNG) or how large they are (TIFF, which Pillow turns itself)
            if image.format not in _SCALED:
                self._held = _load(image)

            frames = count_frames(image)
            self._turn = _orientation(image)
            self._stored = image.size

        if frames > 1:
            warnings.warn(
                f"{self.file} has {frames} frames; the first is used", PruneWarning, stacklevel=2
            )

        width, height = self._stored
        self.size = (height, width) if self._turn >= 5 else (width, height)

    def cut(self, level: Level, tile: Tile) -> Image.Image:
        """One tile of a level, RGB [side, side], black where it reaches beyond the picture.

        Raises:
            ImageError: the file is damaged.
        """
        part = self._read(level.box(tile), level.content(tile))
        if part.size == (level.side, level.side):
            return part

        padded = Image.new("RGB", (level.side, level.side))
        padded.paste(part, (0, 0))
        return padded

    def thumbnail(self, side: int, base: Level) -> Image.Image:
        """The whole picture within one tile, RGB [side, side]; the rest of it is black.

        It is put together from parts at the level `base`.

        Raises:
            ImageError: the file is damaged.
        """
        whole = Image.new("RGB", base.size)
        for tile in base.tiles():
            part = self._read(base.box(tile), base.content(tile))
            whole.paste(part, (tile.column * base.side, tile.row * base.side))

        square = Image.new("RGB", (side, side))
        square.paste(whole.resize(fit(*self.size, side), Image.Resampling.BICUBIC), (0, 0))
        return square

    def _read(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """The part of the upright picture in a box, in RGB, resized to `size`."""
        ratio = size[0] / (box[2] - box[0])
        with reading(str(self.file)), _any_size():
            held = self._decoded(ratio)
            across = held.width / self._stored[0]
            down = held.height / self._stored[1]

            left, top, right, bottom = _stored_box(box, self._turn, self._stored)
            inside = (left * across, top * down, right * across, bottom * down)
            part = _crop(held, inside, size if self._turn < 5 else (size[1], size[0]))

        return part if self._turn == 1 else part.transpose(TURNS[self._turn])

    def _decoded(self, ratio: float) -> Image.Image:
        """The stored picture at `ratio` of its size at least."""
        needed = (ceil(self._stored[0] * ratio), ceil(self._stored[1] * ratio))
        held = self._held
        if held is not None and held.width >= min(needed[0], self._stored[0]):
            return held

        self._held = None  # freed before the next copy is made
        with self._open() as image:
            image.draft(None, needed)
            self._held = _load(image)

        return self._held

    def _open(self) -> Image.Image:
        """The file, not yet decoded."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata does no harm
            image = Image.open(self.file)

        try:
            self._check(image)
        except ImageError:
            image.close()
            raise

        return image

    def _check(self, image: Image.Image) -> None:
        """Refuse what cannot be held, or not be shown."""
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise ImageError(
                f"{self.file} has {pixels:,} pixels; tiles are cut from pictures of at most "
                f"{MOST_PIXELS:,}, because one decoded copy is held. Scale it down, or cut it first"
            )

        if image.mode in ("I", "F"):
            raise ImageError(
                f"{self.file} has 32-bit grey values (mode {image.mode}), and the value of white is "
                "not recorded; convert it to 8 or 16 bits first"
            )


@contextmanager
def _any_size() -> Iterator[None]:
    """Inside, Pillow opens pictures of any size: for a file that the user named as large."""
    with _limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _load(image: Image.Image) -> Image.Image:
    """The decoded picture without its file, and without a second copy of the pixels."""
    image.load()
    # a TIFF of several pages goes back to its file with each use; `copy` would double the memory
    return image._new(image.im)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where none can be read."""
    try:
        turn = image.getexif().get(ORIENTATION)
    except Exception:
        return 1  # unreadable metadata is no reason to refuse a readable picture
    return turn if turn in TURNS else 1


def _stored_box(box: Box, turn: int, stored: tuple[int, int]) -> Box:
    """The box of the file's own picture that shows as `box` once it is turned upright."""
    left, top, right, bottom = box
    width, height = stored

    # turns of 5 and above swap the axes
    if turn >= 5:
        left, top, right, bottom = top, left, bottom, right
    if turn in (2, 3, 7, 8):
        left, right = width - right, width - left
    if turn in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _crop(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """A part of a picture in RGB, resized; only that part is converted."""
    # one pixel more on each side: the box may end within a pixel
    left = max(0, floor(box[0]) - 1)
    top = max(0, floor(box[1]) - 1)
    right = min(image.width, ceil(box[2]) + 1)
    bottom = min(image.height, ceil(box[3]) + 1)

    part = to_rgb(image.crop((left, top, right, bottom)))
    inside = (
        max(0.0, box[0] - left),
        max(0.0, box[1] - top),
        min(float(part.width), box[2] - left),
        min(float(part.height), box[3] - top),
    )
    return part.resize(size, Image.Resampling.BICUBIC, box=inside, reducing_gap=3.0)
