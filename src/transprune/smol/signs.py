"""Signs: coloured boards with a word or a number."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# colours of boards, and whether the ink on them is dark
BOARDS = {
    "red": ((196, 30, 40), False),
    "orange": ((240, 134, 24), True),
    "yellow": ((250, 214, 50), True),
    "green": ((30, 122, 56), False),
    "blue": ((28, 82, 186), False),
    "purple": ((112, 52, 150), False),
    "brown": ((108, 68, 36), False),
    "black": ((24, 24, 26), False),
    "white": ((246, 246, 244), True),
}

LETTERS = (15, 30)  # font sizes, pixels: a capital is about a patch wide
_JITTER = 10  # of a board's colour, grey levels
_DARK = (16, 16, 18)
_LIGHT = (250, 250, 248)


@cache
def load_font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of one size, read once per process."""
    return ImageFont.truetype(file, size)


def draw_sign(
    rng: np.random.Generator, word: str, color: str, font: str
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """Draw a sign, its word in capitals.

    Args:
        rng: of the size and the shade.
        word: to write.
        color: one of `BOARDS`.
        font: file of a font.

    Returns:
        The sign, uint8 [H, W, 4], and the right ends of its letters in pixels, ascending; the first
        number is where the first letter begins.
    """
    shade, dark = BOARDS[color]
    board = tuple(
        int(value) for value in np.clip(rng.integers(-_JITTER, _JITTER + 1, 3) + shade, 0, 255)
    )
    letters = load_font(font, int(rng.integers(LETTERS[0], LETTERS[1] + 1)))

    text = word.upper()
    left, top, right, bottom = letters.getbbox(text)
    margin = 4 + int(rng.integers(5))  # pixels
    width, height = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin

    canvas = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    drawer = ImageDraw.Draw(canvas)
    drawer.rounded_rectangle(
        (0, 0, width - 1, height - 1), 4, fill=(*board, 255), outline=(*_DARK, 255)
    )
    ink = _DARK if dark else _LIGHT
    drawer.text((margin - left, margin - top), text, font=letters, fill=(*ink, 255))

    ends = [margin - left + letters.getlength(text[:count]) for count in range(len(text) + 1)]
    return np.asarray(canvas), tuple(ends)
