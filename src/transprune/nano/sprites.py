"""Stamps that scenes are made of: soft masks of shapes and characters.

Each stamp is drawn once, eight times too large, and averaged down, which makes its edges smooth.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transprune.nano.words import CHARACTERS, SHAPES, SIZES

CELL = 24  # pixels: side of a stamp, and of a cell of the scene's 4 x 4 board
_OVERSAMPLING = 8
_RADIUS = {"small": 7.0, "large": 10.0}  # pixels
_FONT = {"small": 10.5, "large": 12.0}  # pixels

Stamp = NDArray[np.float32]  # [24, 24], coverage 0..1


@cache
def shape_mask(shape: str, size: str) -> Stamp:
    """Coverage of each pixel by the shape, 0..1. -> float32 [24, 24]."""
    canvas, draw = _canvas()
    middle = canvas.width / 2
    radius = _RADIUS[size] * _OVERSAMPLING
    _DRAW[shape](draw, middle, radius)
    return _shrink(canvas)


@cache
def shape_edge(shape: str, size: str) -> Stamp:
    """The shape widened by one pixel on all sides, for its dark outline. -> float32 [24, 24]."""
    mask = shape_mask(shape, size)
    shifted = []

    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            shifted.append(np.roll(mask, (dy, dx), (0, 1)))

    return np.maximum.reduce(shifted)


@cache
def character_mask(character: str, size: str, shape: str) -> Stamp:
    """Coverage of each pixel by the character, centred on the shape. -> float32 [24, 24]."""
    canvas, draw = _canvas()
    font = ImageFont.load_default(size=_FONT[size] * _OVERSAMPLING)

    # centre the inked box, not the font's line box
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font)
    x = canvas.width / 2 - (left + right) / 2
    y = canvas.height / 2 - (top + bottom) / 2
    draw.text((x, y), character, fill=255, font=font, stroke_width=2, stroke_fill=255)

    mask = _shrink(canvas)

    # a triangle is wide enough for a character only below its middle
    if shape == "triangle":
        mask = np.roll(mask, 2, axis=0)

    return mask


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty canvas of one cell at eight times its size."""
    canvas = Image.new("L", (CELL * _OVERSAMPLING, CELL * _OVERSAMPLING))
    return canvas, ImageDraw.Draw(canvas)


def _shrink(canvas: Image.Image) -> Stamp:
    """Average the canvas down to one cell; 0..255 -> 0..1."""
    pixels = np.asarray(canvas.resize((CELL, CELL), Image.Resampling.BOX), dtype=np.float32)
    return pixels / np.float32(255)


# Each function draws one shape around (c, c); r is its radius on the enlarged canvas.


def _circle(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    draw.ellipse((c - r, c - r, c + r, c + r), fill=255)


def _square(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    half = 0.9 * r
    draw.rectangle((c - half, c - half, c + half, c + half), fill=255)


def _triangle(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    top = (c, c - 1.1 * r)
    right = (c + 1.1 * r, c + 0.9 * r)
    left = (c - 1.1 * r, c + 0.9 * r)
    draw.polygon([top, right, left], fill=255)


def _diamond(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    half = 1.15 * r
    draw.polygon([(c, c - half), (c + half, c), (c, c + half), (c - half, c)], fill=255)


def _cross(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    half = 0.5 * r
    draw.rectangle((c - r, c - half, c + r, c + half), fill=255)
    draw.rectangle((c - half, c - r, c + half, c + r), fill=255)


def _star(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    """Five points: ten corners, alternately far from and near to the middle."""
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.18, 0.61) * r
    xs = c + radii * np.cos(angles)
    ys = (
        c + radii * np.sin(angles) + 0.06 * r
    )  # lowered, as one point reaches up and none straight down

    corners = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    draw.polygon(corners, fill=255)


_DRAW = dict(zip(SHAPES, (_circle, _square, _triangle, _diamond, _cross, _star), strict=True))
assert set(_RADIUS) == set(_FONT) == set(SIZES)
assert len(set(CHARACTERS)) == 20
