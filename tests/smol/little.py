"""A little world without the emoji font and without photographs: coloured shapes."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from transprune.smol.kinds import SIDE, SPLITS, Kinds
from transprune.smol.world import World

PAINTS = {
    "red": (215, 30, 30),
    "orange": (245, 150, 20),
    "yellow": (250, 215, 40),
    "green": (40, 150, 60),
    "blue": (40, 90, 200),
    "purple": (130, 60, 180),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
SHAPES = ("ball", "box", "kite", "cross", "bar")


@cache
def little_world() -> World:
    """Forty kinds, textures, one font."""
    names = []
    pictures = []
    for paint, color in PAINTS.items():
        for shape in SHAPES:
            names.append(f"{paint} {shape}")
            pictures.append(picture(shape, color))

    (folder,) = importlib.util.find_spec("matplotlib").submodule_search_locations
    font = str(Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans-Bold.ttf")
    return World(
        Kinds(tuple(names), np.stack(pictures)),
        {split: [] for split in SPLITS},
        dict.fromkeys(SPLITS, (font,)),
        "little",
    )


def picture(shape: str, color: tuple[int, int, int]) -> np.ndarray:
    canvas = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    fill = (*color, 255)
    last = SIDE - 1
    half = SIDE // 2
    if shape == "ball":
        draw.ellipse((0, 0, last, last), fill=fill)
    elif shape == "box":
        draw.rectangle((0, 0, last, last), fill=fill)
    elif shape == "kite":
        draw.polygon([(half, 0), (last, half), (half, last), (0, half)], fill=fill)
    elif shape == "cross":
        draw.rectangle((0, half - 20, last, half + 20), fill=fill)
        draw.rectangle((half - 20, 0, half + 20, last), fill=fill)
    else:
        draw.rectangle((0, half - 25, last, half + 25), fill=fill)
    return np.asarray(canvas)
