"""The stamps that scenes are made of: soft masks of shapes and characters, drawn once, eight times too large."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transprune.nano.words import CHARACTERS, SHAPES, SIZES

CELL = 24  # pixels of a stamp, and of a cell of the scene's 4 x 4 board
_OVERSAMPLING = 8
_RADIUS = {"small": 7.0, "large": 10.0}  # pixels
_FONT = {"small": 10.5, "large": 12.0}

Stamp = NDArray[np.float32]


@cache
def shape_mask(shape: str, size: str) -> Stamp:
    """Coverage of each pixel by the shape, 0..1. -> float32 [24, 24]."""
    canvas, draw = _canvas()
    middle, radius = canvas.width / 2, _RADIUS[size] * _OVERSAMPLING
    _DRAW[shape](draw, middle, radius)
    return _shrink(canvas)


@cache
def shape_edge(shape: str, size: str) -> Stamp:
    """The shape widened by one pixel on all sides: its dark outline lies there. -> float32 [24, 24]."""
    mask = shape_mask(shape, size)
    shifted = [np.roll(mask, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.maximum.reduce(shifted)


@cache
def character_mask(character: str, size: str, shape: str) -> Stamp:
    """Coverage of each pixel by the character, centred on the shape's body. -> float32 [24, 24]."""
    canvas, draw = _canvas()
    font = ImageFont.load_default(size=_FONT[size] * _OVERSAMPLING)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font)
    corner = (canvas.width / 2 - (left + right) / 2, canvas.height / 2 - (top + bottom) / 2)
    draw.text(corner, character, fill=255, font=font, stroke_width=2, stroke_fill=255)
    mask = _shrink(canvas)
    return (
        np.roll(mask, 2, axis=0) if shape == "triangle" else mask
    )  # a triangle is wide only below its middle


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (CELL * _OVERSAMPLING, CELL * _OVERSAMPLING))
    return canvas, ImageDraw.Draw(canvas)


def _shrink(canvas: Image.Image) -> Stamp:
    pixels = np.asarray(canvas.resize((CELL, CELL), Image.Resampling.BOX), dtype=np.float32)
    return pixels / np.float32(255)


def _circle(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    draw.ellipse((c - r, c - r, c + r, c + r), fill=255)


def _square(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    half = 0.9 * r
    draw.rectangle((c - half, c - half, c + half, c + half), fill=255)


def _triangle(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    draw.polygon(
        [(c, c - 1.1 * r), (c + 1.1 * r, c + 0.9 * r), (c - 1.1 * r, c + 0.9 * r)], fill=255
    )


def _diamond(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    half = 1.15 * r
    draw.polygon([(c, c - half), (c + half, c), (c, c + half), (c - half, c)], fill=255)


def _cross(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    half = 0.5 * r
    draw.rectangle((c - r, c - half, c + r, c + half), fill=255)
    draw.rectangle((c - half, c - r, c + half, c + r), fill=255)


def _star(draw: ImageDraw.ImageDraw, c: float, r: float) -> None:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.18, 0.61) * r
    points = zip(c + radii * np.cos(angles), c + radii * np.sin(angles) + 0.06 * r, strict=True)
    draw.polygon([(float(x), float(y)) for x, y in points], fill=255)


_DRAW = dict(zip(SHAPES, (_circle, _square, _triangle, _diamond, _cross, _star), strict=True))
assert set(_RADIUS) == set(_FONT) == set(SIZES)
assert len(set(CHARACTERS)) == 20
