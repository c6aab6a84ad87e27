"""Names of colours, and the colour by which a person would name a picture, if there is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLORS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
)
SHARE = 0.6  # of the pixels that must have a colour before the whole is named after it

UNNAMED = -1  # of pixels that people would give different names to: tan, teal, olive, slate

# hues in degrees of strong, bright colours; what lies between them is unnamed
_HUES = (
    (0, 10, "red"),
    (20, 42, "orange"),
    (44, 62, "yellow"),
    (75, 155, "green"),
    (195, 255, "blue"),
    (260, 298, "purple"),
    (305, 345, "pink"),
    (350, 360, "red"),
)


def main_color(picture: NDArray[np.uint8]) -> str | None:
    """The colour that at least 60 % of the opaque pixels have; None if none does.

    Args:
        picture: uint8 [H, W, 4], red, green, blue and opacity.
    """
    opaque = picture[..., 3] > 128
    numbers = color_numbers(picture[..., :3])[opaque]  # [opaque pixels]
    if numbers.size == 0:
        return None

    counts = np.bincount(numbers[numbers != UNNAMED], minlength=len(COLORS))
    best = int(counts.argmax())
    return COLORS[best] if counts[best] >= SHARE * numbers.size else None


def color_numbers(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number in `COLORS` of the colour of each pixel, or -1. uint8 [H, W, 3] -> int64 [H, W]."""
    hsv = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("HSV"))
    hue = hsv[..., 0].astype(np.float32) * 360 / 255
    saturation, value = (hsv[..., axis].astype(np.float32) / 255 for axis in (1, 2))

    numbers = np.full(hue.shape, UNNAMED, np.int64)
    strong = (saturation > 0.45) & (value > 0.45)
    for first, last, name in _HUES:
        numbers[strong & (hue >= first) & (hue <= last)] = COLORS.index(name)

    # pale orange is tan; dark orange and dark red are brown
    warm = (hue >= 8) & (hue <= 42)
    numbers[warm & (saturation < 0.7)] = UNNAMED
    numbers[warm & (value > 0.25) & (value < 0.66)] = COLORS.index("brown")

    # without much colour: by lightness
    pale = saturation < 0.14
    numbers[pale & (value > 0.35) & (value < 0.8)] = COLORS.index("gray")
    numbers[pale & (value > 0.88)] = COLORS.index("white")
    numbers[value < 0.2] = COLORS.index("black")
    return numbers
